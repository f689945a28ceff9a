"""What a run of `download` is going to have: files, and what could not be had."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Item:
    """One file: `target` is relative to `data/raw`, `source` the name that the manifest gives its origin."""

    target: str
    origin: Path
    source: str


@dataclass(frozen=True)
class Missing:
    """One file that an annotation names and that is not to be had; `path` is relative to `data/raw/media`.

    It is nowhere (`missing`), or refused because it leads out of its folder (`unsafe`).
    """

    path: str
    source: str
    problem: Literal["missing", "unsafe"]
    detail: str


@dataclass(frozen=True)
class Plan:
    items: list[Item] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


class FetchError(RuntimeError):
    """Nothing was fetched, or not everything; the message is for the user and says what to do."""
