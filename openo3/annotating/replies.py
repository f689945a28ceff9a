"""What the endpoint said, and what that cost: nothing is asked twice, and no budget is exceeded.

A line of the file of replies, one a reply:

    {"key": "5f0c…", "kind": "annotate", "clip": "kitchen/0012.mp4", "text": "{…}", "cut": false,
     "room": 2048, "times_s": [0.0, 1.0], "read": 2140, "written": 388}

`key` is a digest of everything that determines a request: the clip's content, how its frames are chosen, the
prompt, the model and its settings. The file survives a kill -9; a line that is cut off is dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from openo3.annotating.params import BudgetParams
from openo3.annotations.rejections import printable

MAX_CHARS = 200_000
"""The longest reply that is kept; a longer one is cut, and cannot be read."""


class BudgetSpent(Exception):
    """Another request would exceed the budget; the message says which limit."""


@dataclass(frozen=True)
class Said:
    """A kept reply: its `text`, whether the server `cut` it off after the `room` that it had, in tokens, and
    the times in seconds of the frames that the model saw, empty where it saw the clip itself."""

    text: str
    cut: bool = False
    room: int = 0
    times_s: tuple[float, ...] = ()


@dataclass
class Usage:
    """Requests, and tokens `read` and `written`."""

    requests: int = 0
    read: int = 0
    written: int = 0

    def add(self, read: int, written: int) -> None:
        self.requests, self.read, self.written = self.requests + 1, self.read + read, self.written + written


class Replies:
    """The kept replies of a file. One process at a time; `openo3.annotating.run` holds a lock."""

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, None
        self.by_kind: Counter[str] = Counter()
        self.usage = Usage()
        self._known: dict[str, Said] = {}
        self._load()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: str) -> Said | None:
        return self._known.get(key)

    def add(self, key: str, kind: str, clip: str, said: Said, read: int, written: int) -> Said:
        """Keep a reply, on the disk before it is used."""
        said = replace(said, text=printable(said.text[:MAX_CHARS]))
        self._count(key, kind, said, read, written)
        line = {"key": key, "kind": kind, "clip": printable(clip), "text": said.text, "cut": said.cut,
                "room": said.room, "times_s": said.times_s, "read": read, "written": written}  # fmt: skip
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        self._file.write(orjson.dumps(line) + b"\n")
        return said

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _count(self, key: str, kind: str, said: Said, read: int, written: int) -> None:
        self._known[key] = said
        self.by_kind[kind] += 1
        self.usage.add(read, written)

    def _load(self) -> None:
        """Read the file up to the first line that is not whole, and cut it off there."""
        if not self.path.exists():
            return
        size = 0
        with self.path.open("rb") as file:
            for line in file:
                try:
                    row = orjson.loads(line)
                    times_s = tuple(map(float, row["times_s"]))
                    said = Said(str(row["text"]), bool(row["cut"]), int(row["room"]), times_s)
                    self._count(
                        str(row["key"]), str(row["kind"]), said, int(row["read"]), int(row["written"])
                    )
                except (LookupError, TypeError, ValueError):
                    break
                if not line.endswith(b"\n"):
                    break
                size += len(line)
        if size < self.path.stat().st_size:
            print(f"{self.path}: damaged after {len(self._known):,} replies; later ones are asked again")
            os.truncate(self.path, size)


def key_of(facts: Mapping[str, Any]) -> str:
    """A digest of what determines a request."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


class Budget:
    """What was spent, and what the requests under way may cost at most."""

    def __init__(self, params: BudgetParams, spent: Usage) -> None:
        self.params, self.spent = params, spent
        self._reserved = Usage()

    def reserve(self, read: int, written: int) -> None:
        """For a request of so many tokens at most. Raises `BudgetSpent`."""
        requests = self.spent.requests + self._reserved.requests + 1
        reading = self.spent.read + self._reserved.read + read
        writing = self.spent.written + self._reserved.written + written
        cost = self.params.cost(reading, writing)
        limits = (
            ("requests", requests, self.params.max_requests),
            ("tokens", reading + writing, self.params.max_tokens),
            ("cost", cost, self.params.max_cost),
        )
        for name, value, most in limits:
            if most is not None and value is not None and value > most:
                raise BudgetSpent(f"the next request might exceed the {name} of {most:g}")
        self._reserved.add(read, written)

    def release(self, read: int, written: int) -> None:
        """A reserved request has ended, whatever it cost."""
        self._reserved.requests -= 1
        self._reserved.read -= read
        self._reserved.written -= written

    @property
    def cost(self) -> float | None:
        return self.params.cost(self.spent.read, self.spent.written)
