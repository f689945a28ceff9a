"""Decisions about records, written to new STGR files after every one; the original files stay as they are.

    with Review.opened(collection, Path("local-reviewed")) as review:
        review.decide(17, version=0, decision="accepted", why="", by="Ana", draft=draft)

    local-reviewed/
      STGR-SFT.json             what can be used: accepted records, with their corrections, and undecided ones
      STGR-SFT.rejected.json    the rest, each with the reason in its field `rejected`
      decisions.jsonl           one line per decision, from which a later run continues
      videos, kfs, images       links to the media, so that `download.path` may name this folder

About one annotation file OUT.json, the files are OUT.json, OUT.rejected.json and OUT.decisions.jsonl. A
decision is on the disk before it is confirmed. Each record has a version: a decision about an older one is
refused with what has changed. A decision belongs to the row that it was made about, wherever that stands in
the file later; if the row has changed since, it is kept but not applied.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any, Literal, get_args

import orjson

from openo3.annotations.rejections import Rejection, RowError
from openo3.files.artifacts import atomic_file
from openo3.files.locks import file_lock
from openo3.review.collection import ASIDE, Collection, Entry, LookError
from openo3.review.edits import Draft, applied, differences

Decision = Literal["accepted", "rejected", "undecided"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)

BY_PERSON = "rejected in review"
"""The reason of a record that a person rejects without another."""

_LONGEST_WHY, _LONGEST_BY = 500, 60
_MEDIA_FOLDERS = ("videos", "kfs", "images")


@dataclass(frozen=True)
class State:
    """What is decided about a record. `draft` is None where nothing was corrected; `at` is a time in UTC."""

    version: int = 0
    decision: Decision = "undecided"
    why: str = ""
    by: str = ""
    at: str = ""
    draft: Draft | None = None

    def to_json(self) -> dict[str, Any]:
        """What the page needs of it."""
        return {
            "version": self.version,
            "decision": self.decision,
            "why": self.why,
            "by": self.by,
            "at": self.at,
            "edited": self.draft is not None,
        }


class Stale(Exception):
    """A decision about an older version: `now` is the present one, `changes` what happened since, in
    words."""

    def __init__(self, now: State, changes: Sequence[str]) -> None:
        super().__init__("; ".join(changes))
        self.now, self.changes = now, changes


class Unusable(ValueError):
    """A record is accepted that no stage could use."""

    def __init__(self, rejection: Rejection) -> None:
        detail = f" ({rejection.detail})" if rejection.detail else ""
        super().__init__(f"{rejection.field}: {rejection.reason}{detail}")
        self.rejection = rejection


@dataclass
class _Kept:
    """Of one record: all its states, and its line in a new file."""

    states: list[State] = field(default_factory=lambda: [State()])
    line: bytes = b""
    usable: bool = True


class Review:
    """All decisions about a collection. Threads may share it."""

    def __init__(self, collection: Collection, out: Path, only_accepted: bool = False) -> None:
        self.collection, self.out, self.only_accepted = collection, out, only_accepted
        self.is_file = collection.path.is_file()
        self.changed: list[int] = []
        """The numbers of records in the order of their decisions, those of this run."""
        self.set_aside = 0
        """Decisions of an earlier run about rows that have changed since."""
        self._lock = RLock()
        self._keys = _keys(collection.entries)
        self._kept = [_Kept() for _ in collection.entries]

    @classmethod
    @contextmanager
    def opened(cls, collection: Collection, out: Path, only_accepted: bool = False) -> Iterator[Review]:
        """Continue an earlier review at `out`, or begin one.

        Raises:
            LookError: there is something else, or another process reviews there.
        """
        review = cls(collection, out, only_accepted)
        review._check_place()
        (out.parent if review.is_file else out).mkdir(parents=True, exist_ok=True)
        busy = LookError(f"-o {out}: another `openo3 look --serve` writes there; open its page instead")
        with file_lock(review._beside("lock", hidden=True), lambda: busy):
            review._resume()
            review._write_links()
            for entry in collection.entries:
                review._line_of(entry)
            review._write(collection.files)
            yield review

    def state(self, number: int) -> State:
        return self._kept[number].states[-1]

    def draft(self, number: int) -> Draft:
        """The record as it is corrected now."""
        return self.state(number).draft or Draft.of(self.collection.entries[number].raw)

    def raw(self, entry: Entry, draft: Draft) -> Any:
        """The row with a draft's corrections. Raises `RowError` if they cannot be written."""
        raw = entry.raw
        return applied(raw, draft) if isinstance(raw, Mapping) else raw

    def rejection(self, entry: Entry, draft: Draft) -> Rejection | None:
        """Why no stage could use the record with a draft's corrections.

        A row that its file sets aside is judged by the rules alone once it was corrected.
        """
        if draft == Draft.of(entry.raw):
            return entry.rejection
        try:
            return self.collection.rejection(entry, self.raw(entry, draft))
        except RowError as error:
            return Rejection.of(entry.file, entry.row, entry.raw, error)

    def counts(self) -> dict[str, int]:
        """How many records have which decision, and how many are in the new files."""
        decided = Counter(kept.states[-1].decision for kept in self._kept)
        return {name: decided[name] for name in DECISIONS} | {"kept": sum(kept.usable for kept in self._kept)}

    def decide(self, number: int, version: int, decision: Decision, why: str, by: str, draft: Draft) -> State:
        """Decide about a record and write the files.

        Raises:
            Stale: somebody decided since `version`.
            Unusable: it is accepted, but the rules reject it.
            RowError: the corrections cannot be written.
        """
        entry = self.collection.entries[number]
        with self._lock:
            now = self.state(number)
            if version != now.version:
                raise Stale(now, self._since(number, version))
            raw = self.raw(entry, draft)
            if decision == "accepted" and (why_not := self._refused(entry, draft)):
                raise Unusable(why_not)
            at = datetime.now(UTC).isoformat(timespec="seconds")
            edited = draft if draft != Draft.of(entry.raw) else None
            state = State(now.version + 1, decision, why[:_LONGEST_WHY], by[:_LONGEST_BY], at, edited)
            self._append(number, state, raw)
            self._kept[number].states.append(state)
            self.changed.append(number)
            self._line_of(entry)
            self._write([entry.target])
            return state

    def _refused(self, entry: Entry, draft: Draft) -> Rejection | None:
        """The rules' word; a person may overrule what only set the row aside, such as a filter."""
        rejection = self.rejection(entry, draft)
        if rejection is None or not entry.aside:
            return rejection
        return self.collection.rejection(entry, self.raw(entry, draft))

    def _since(self, number: int, version: int) -> list[str]:
        """What happened to a record since a version, in sentences."""
        states = self._kept[number].states
        before = states[version] if 0 <= version < len(states) else states[0]
        own, now = Draft.of(self.collection.entries[number].raw), states[-1]
        changes = differences(before.draft or own, now.draft or own)
        if before.decision != now.decision or before.why != now.why:
            why = f": {now.why}" if now.why else ""
            changes.insert(0, f"the record is {now.decision} now{why}; it was {before.decision}")
        return changes or [f"the record was saved again as {now.decision}, without another change"]

    # ---- files

    def _beside(self, name: str, hidden: bool = False) -> Path:
        """A file that belongs to the review: in its folder, or beside its file."""
        if self.is_file:
            return self.out.with_name(f"{'.' if hidden else ''}{self.out.stem}.{name}")
        return self.out / (f".{name}" if hidden else name)

    @property
    def journal(self) -> Path:
        return self._beside("decisions.jsonl")

    def targets(self, file: str) -> tuple[Path, Path]:
        """Where the usable and the rejected records of an annotation file go."""
        if self.is_file:
            return self.out, self.out.with_name(f"{self.out.stem}.rejected.json")
        return self.out / file, self.out / f"{Path(file).stem}.rejected.json"

    def _check_place(self) -> None:
        """Raises `LookError` where writing would destroy something."""
        own = self.collection.path.resolve()
        if self.out.resolve() == own:
            raise LookError(f"-o {self.out}: is the original, which stays as it is; name another place")
        if self.is_file and self.out.is_dir():
            raise LookError(f"-o {self.out}: is a folder; a review of one file is written to a file")
        if not self.is_file and self.out.exists() and not self.out.is_dir():
            raise LookError(f"-o {self.out}: is a file; a review of a folder is written to a folder")
        there = self.out.exists() if self.is_file else any(self.out.glob("[!.]*"))
        if there and not self.journal.is_file():
            raise LookError(f"-o {self.out}: no review wrote what is there; name another place")

    def _write_links(self) -> None:
        """Links to the media, so that the folder is one that `download` reads."""
        if self.is_file:
            return
        for name in _MEDIA_FOLDERS:
            source, link = self.collection.home / name, self.out / name
            if source.is_dir() and not link.exists() and not link.is_symlink():
                link.symlink_to(os.path.relpath(source.resolve(), self.out.resolve()))

    def _append(self, number: int, state: State, raw: Any) -> None:
        line = {
            "key": self._keys[number],
            "file": self.collection.entries[number].file,
            "row": self.collection.entries[number].row,
            "id": raw.get("id") if isinstance(raw, Mapping) else None,
            **state.to_json(),
            "draft": state.draft.to_json() if state.draft else None,
        }
        with self.journal.open("ab") as file:
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())

    def _resume(self) -> None:
        """Read the decisions of earlier runs. A last line that was cut off was never confirmed."""
        self.journal.touch()
        content = self.journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with atomic_file(self.journal) as part:
                part.write_bytes(whole)
        numbers = {key: number for number, key in enumerate(self._keys)}
        for place, text in enumerate(whole.splitlines(), 1):
            try:
                line = orjson.loads(text)
                number = numbers.get(line["key"])
                draft = None if line["draft"] is None else Draft.from_json(line["draft"])
                decision = DECISIONS[DECISIONS.index(line["decision"])]
                said = {name: str(line[name]) for name in ("why", "by", "at")}
            except (ValueError, LookupError, TypeError, RowError) as error:
                raise LookError(
                    f"{self.journal}: line {place}: {error}; remove it, or name another -o"
                ) from None
            if number is None:
                self.set_aside += 1
                continue
            states = self._kept[number].states
            states.append(State(len(states), decision, said["why"], said["by"], said["at"], draft))

    def _line_of(self, entry: Entry) -> None:
        """Write a record's line anew, and whether it goes to the usable ones."""
        kept, state = self._kept[entry.number], self.state(entry.number)
        raw = self.raw(entry, state.draft) if state.draft else entry.raw
        if state.decision == "accepted":
            why: dict[str, str] | None = None
        elif state.decision == "rejected":
            why = {"reason": state.why or BY_PERSON}
        else:
            found = self.rejection(entry, state.draft) if state.draft else entry.rejection
            why = found and {"reason": str(found.reason), "field": found.field, "detail": found.detail}
            if why is None and self.only_accepted:
                why = {"reason": "undecided"}
        kept.usable = why is None
        if isinstance(raw, Mapping):
            raw = {name: value for name, value in raw.items() if name != ASIDE}
            raw |= {ASIDE: why} if why else {}
        kept.line = _json(raw)

    def _write(self, files: Sequence[str] | Mapping[str, str]) -> None:
        for file in files:
            usable, rest = self.targets(file)
            kept = [self._kept[entry.number] for entry in self.collection.entries if entry.target == file]
            _write_list(usable, [one.line for one in kept if one.usable])
            _write_list(rest, [one.line for one in kept if not one.usable])


def _keys(entries: Sequence[Entry]) -> list[str]:
    """A name for each row that its content gives, wherever it stands: equal rows are numbered."""
    seen: Counter[str] = Counter()
    keys = []
    for entry in entries:
        digest = hashlib.sha256(entry.file.encode() + b"\0" + entry.line).hexdigest()[:24]
        seen[digest] += 1
        keys.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return keys


def _json(raw: Any) -> bytes:
    return json.dumps(raw, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _write_list(path: Path, lines: Sequence[bytes]) -> None:
    """One JSON list, a record a line, on the disk before it has its name."""
    with atomic_file(path) as part, part.open("wb") as file:
        file.write(b"[\n" + b",\n".join(lines) + (b"\n]\n" if lines else b"]\n"))
        file.flush()
        os.fsync(file.fileno())
