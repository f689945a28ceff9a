"""The predictions that `evaluate` wrote: which there are, and each run's records with its texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from openo3.benchmarks.base import Benchmark, frames_of
from openo3.benchmarks.conditions import CONDITIONS
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS
from openo3.core.geometry import BoxSpace
from openo3.files.artifacts import read_json, read_jsonl

PREDICTIONS = Path("data/predictions")

_RESULTS = ".results.json"


class GalleryError(ValueError):
    """The gallery cannot be made; the message is one line that names the file and says what to do."""


@dataclass(frozen=True)
class Said:
    """One question, and a model's whole completion, whose boxes are in `space`."""

    prompt: str
    text: str
    space: BoxSpace


@dataclass(frozen=True)
class Run:
    """One checkpoint's answers to one benchmark in one condition.

    `results` are the benchmark's records with the answers filled in, `said` the texts of each record by kind
    of question; a record that was not asked has none. `scores` are each record's, by column.
    """

    model: str
    benchmark: Benchmark
    condition: str
    results: Sequence[Mapping[str, Any]]
    said: Sequence[Mapping[str, Said]]
    scores: Sequence[Mapping[str, float]]

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of question that were asked, in the benchmark's order."""
        asked = {kind for record in self.said for kind in record}
        return (
            *(kind for kind in self.benchmark.scoring.asks if kind in asked),
            *sorted(asked - {*self.benchmark.scoring.asks}),
        )

    @property
    def cites(self) -> bool:
        """True if it was asked in the evidence grammar."""
        return self.condition in CONDITIONS and not CONDITIONS[self.condition].bare

    @property
    def label(self) -> str:
        """How it was asked, in words."""
        return CONDITIONS[self.condition].label if self.condition in CONDITIONS else self.condition


def find(root: Path, models: Sequence[str] | None) -> dict[str, list[Path]]:
    """The results files below the repository's root by benchmark; `models` in this order, by default all.

    Raises:
        GalleryError: there are none, or a model has none.
    """
    folder = root / PREDICTIONS
    there = sorted(path.name for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not there:
        raise GalleryError(f"{folder}: no predictions; `make repro` or the stage evaluate writes them")
    for model in models or ():
        if model not in there:
            raise GalleryError(f"--models {model}: no predictions; there are {', '.join(there)}")
    chosen = dict.fromkeys(models or sorted(there, key=lambda name: (_place(name, tuple(CHECKPOINTS)), name)))
    conditions = tuple(CONDITIONS)
    found: dict[str, list[Path]] = {}
    for benchmark in BENCHMARKS:
        paths = [path for model in chosen for path in (folder / model / benchmark).glob(f"*{_RESULTS}")]
        order = [*chosen]
        paths.sort(key=lambda path: (order.index(path.parts[-3]), _place(_condition(path), conditions), path))
        if paths:
            found[benchmark] = paths
    if not found:
        raise GalleryError(f"{folder}: no results of a known benchmark below {', '.join(chosen)}")
    return found


def read(path: Path) -> Run:
    """The run whose results file this is.

    Raises:
        GalleryError: the file, or that of the completions beside it, cannot be read.
    """
    benchmark, condition = BENCHMARKS[path.parent.name], _condition(path)
    lines = path.with_name(f"{condition}.jsonl")
    try:
        results = read_json(path)
        scores = benchmark.scoring.records(results)
        if unnamed := [number for number, record in enumerate(results) if not record.get("media")]:
            raise ValueError(f"record {unnamed[0]} names no media")
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise GalleryError(f"{path}: {_shown(error)}; evaluate this model again") from None
    said: list[dict[str, Said]] = [{} for _ in results]
    try:
        for number, kind, one in _lines(lines):
            said[number][kind] = one
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise GalleryError(f"{lines}: {_shown(error)}; evaluate this model again") from None
    return Run(path.parts[-3], benchmark, condition, results, said, scores)


def check_same_records(first: Run, second: Run) -> None:
    """Runs of a benchmark are shown record by record, so a record's number must mean the same in all.

    Raises:
        GalleryError: it does not, since the benchmark changed between the two evaluations.
    """
    for number, (one, other) in enumerate(zip(first.results, second.results, strict=False)):
        if _identity(one) != _identity(other):
            names = [f"{run.model}/{run.benchmark.name}/{run.condition}" for run in (first, second)]
            raise GalleryError(
                f"{PREDICTIONS}/{names[1]}: record {number} is not that of {names[0]}; evaluate both again"
            )


def _identity(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return frames_of(record), record.get("question")


def _lines(path: Path) -> Iterator[tuple[int, str, Said]]:
    for line in read_jsonl(path):
        size = line["box_space"]["size"]
        space = BoxSpace(line["box_space"]["kind"], size and tuple(size))
        number = line["record"]
        if not isinstance(number, int) or number < 0:
            raise ValueError(f"record {number!r} is no number of a record")
        yield number, str(line["question"]), Said(str(line["prompt"]), str(line["completion"]), space)


def _condition(path: Path) -> str:
    return path.name.removesuffix(_RESULTS)


def _place(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _shown(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
