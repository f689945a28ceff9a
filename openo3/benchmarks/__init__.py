"""Benchmarks: each a module, or object, of five functions, found by name.

`load` reads the records, `questions` asks about one, `result` reads the answers, `rate` asks a judge,
`score` counts. To add a benchmark, write such a module and name it in `get`; one with options to choose from
needs its reader (`openo3.annotations.choice_records`) and a `MultipleChoice`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from openo3.benchmarks.judges import Judge
from openo3.core.geometry import BoxSpace

Record = dict[str, Any]


class Benchmark(Protocol):
    """What a benchmark's module offers; `space` is how the model writes boxes of this record's frames."""

    def load(self, path: str | Path) -> list[Record]:
        """The benchmark's own records."""

    def questions(self, record: Record, space: BoxSpace) -> dict[str, str]:
        """What to ask about one record: kind of question -> text of the prompt, after the frames."""

    def result(self, record: Record, completions: Mapping[str, str], space: BoxSpace) -> Record:
        """The record with the answers filled in; `completions` has the same keys as `questions`, or fewer."""

    def rate(self, results: Sequence[Record], judge: Judge) -> Sequence[Record]:
        """The results with the judge's ratings, so that no one need ask it again."""

    def score(self, results: Sequence[Record], judge: Judge) -> dict[str, Any]:
        """All metrics by name, their 95 % `intervals`, and `n`, the number of records."""


def get(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        KeyError: there is none; the message lists those that there are.
    """
    from openo3.benchmarks import choices, tvgbench, vstar

    known = {
        "vstar": vstar,
        "tvgbench": tvgbench,
        "videomme": choices.VIDEOMME,
        "worldsense": choices.WORLDSENSE,
        "videommmu": choices.VIDEOMMMU,
    }
    if name not in known:
        raise KeyError(f"unknown benchmark {name!r}; there are {', '.join(known)}")
    return known[name]
