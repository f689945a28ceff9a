"""What a run of `download` is going to have: files with their origins, and the files that are missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from openo3.fetch.origin import Origin

PlanProblem = Literal["missing", "unsafe", "unreadable"]


@dataclass(frozen=True)
class Item:
    """One file: `target` is relative to `data/raw`, `source` the name that the manifest gives its origin."""

    target: str
    origin: Origin
    source: str


@dataclass(frozen=True)
class Missing:
    """One unavailable file that an annotation names; `path` is relative to `data/raw/media`.

    It was not found (`missing`), its path or address is refused (`unsafe`), or its content is wrong
    (`unreadable`).
    """

    path: str
    source: str
    problem: PlanProblem
    detail: str


@dataclass(frozen=True)
class Plan:
    """`away`: the missing files whose whole place cannot be opened at the moment, with the reason."""

    items: list[Item] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    away: dict[str, str] = field(default_factory=dict)


class FetchError(RuntimeError):
    """Nothing was fetched, or not everything; the message is for the user and says what to do."""


class Unavailable(Exception):
    """One file is unavailable for good: it becomes a `Missing`, and the run continues."""

    def __init__(self, problem: PlanProblem, detail: str) -> None:
        super().__init__(detail)
        self.problem, self.detail = problem, detail


class PlaceAway(Unavailable):
    """The place of a file cannot be opened, which says nothing about the file itself."""


class Unfinished(Exception):
    """One file could not be fetched this time; what came is kept, and another run may fetch the rest."""
