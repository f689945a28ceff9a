"""The plan of a `download` run: files with their origins, and files that are missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from openo3.fetch.origin import Origin

PlanProblem = Literal["missing", "unsafe", "unreadable"]


@dataclass(frozen=True)
class Item:
    """One file. `target` is relative to `data/raw`; `source` is the name of its source in the manifest."""

    target: str
    origin: Origin
    source: str


@dataclass(frozen=True)
class Missing:
    """One unavailable file that an annotation names. `path` is relative to `data/raw/media`.

    `problem` is `missing` if it was not found, `unsafe` if its path or address is refused, and `unreadable`
    if its content is wrong. `detail` is the same for many files; `hint` is about this one alone.
    """

    path: str
    source: str
    problem: PlanProblem
    detail: str
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class Plan:
    """`unreachable`: missing files whose whole place cannot be opened at the moment, with the reason."""

    items: list[Item] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)


class FetchError(RuntimeError):
    """Fetching failed, completely or in part. The message tells the user what to do."""


class Unavailable(Exception):
    """One file is permanently unavailable. It becomes a `Missing`, and the run continues."""

    def __init__(self, problem: PlanProblem, detail: str) -> None:
        super().__init__(detail)
        self.problem: PlanProblem = problem
        self.detail = detail


class PlaceUnreachable(Unavailable):
    """The place of a file cannot be opened, so it is unknown whether the file exists."""


class Unfinished(Exception):
    """One file could not be fetched this time. The received part is kept for the next run."""
