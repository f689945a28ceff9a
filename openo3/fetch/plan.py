"""What a run of `download` is going to have: files with their origins, and what could not be had."""

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
    """One file that an annotation names and that is not to be had; `path` is relative to `data/raw/media`.

    It is nowhere (`missing`), refused because it leads out of its folder or archive (`unsafe`), or not what
    it should be (`unreadable`).
    """

    path: str
    source: str
    problem: PlanProblem
    detail: str


@dataclass(frozen=True)
class Plan:
    """`away`: of the missing ones, those whose place as a whole cannot be opened (now), with the reason."""

    items: list[Item] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    away: dict[str, str] = field(default_factory=dict)


class FetchError(RuntimeError):
    """Nothing was fetched, or not everything; the message is for the user and says what to do."""


class Unavailable(Exception):
    """One file cannot be had, now or later: it becomes a `Missing`, and the run goes on."""

    def __init__(self, problem: PlanProblem, detail: str) -> None:
        super().__init__(detail)
        self.problem, self.detail = problem, detail


class PlaceAway(Unavailable):
    """Not even the place of a file can be opened; that says nothing about the file."""


class Unfinished(Exception):
    """One file could not be had this time; what came of it is kept, and another run may get the rest."""
