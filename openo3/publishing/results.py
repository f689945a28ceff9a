"""The numbers of a checkpoint in percent: for the hub's metadata, and as tables of the card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from huggingface_hub import EvalResult, EvalResultEntry

from openo3.benchmarks.conditions import CONDITIONS
from openo3.benchmarks.protocol import flat
from openo3.benchmarks.registry import BENCHMARKS
from openo3.publishing.run import Run

TASK = "video-text-to-text"
_LONGEST = 200


@dataclass(frozen=True)
class Level:
    """One number with its 95 % interval. The ends are `None` if they are unknown or infinite."""

    metric: str
    title: str
    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        ends = "" if self.low is None or self.high is None else f" [{self.low:.1f}, {self.high:.1f}]"
        return f"{self.value:.1f}{ends}"


def levels(run: Run, model: str, benchmark: str, condition: str) -> list[Level]:
    """The numbers of a checkpoint in a condition, by the columns of the benchmark's table."""
    numbers = run.evaluated[model][benchmark][condition]
    intervals = numbers.get("intervals") or {}
    asked = CONDITIONS.get(condition)
    return [
        Level(metric, f"{heading}, {detail}", value, *_ends(intervals.get(metric)))
        for metric, heading, detail in BENCHMARKS[benchmark].display.columns
        if (value := _percent(numbers.get(metric))) is not None
        and not (metric == "format" and asked is not None and asked.bare)
    ]


def _percent(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return 100 * value if is_number else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _ends(interval: Any) -> tuple[float | None, float | None]:
    low, high = interval if isinstance(interval, list) and len(interval) == 2 else (None, None)
    return _percent(low), _percent(high)


def eval_results(run: Run) -> list[EvalResult]:
    """All numbers for `model-index`, each in the condition that the checkpoint is meant for."""
    found = []
    for benchmark in run.benchmarks:
        condition = run.meant(benchmark)
        known = run.datasets.get(benchmark)
        for level in levels(run, run.name, benchmark, condition):
            found.append(
                EvalResult(
                    task_type=TASK,
                    dataset_type=known.id if known else f"{run.source}/{benchmark}",
                    dataset_name=records_of(run, benchmark),
                    dataset_revision=known.revision if known else None,
                    metric_type=level.metric,
                    metric_name=level.title,
                    metric_value=round(level.value, 2),
                    metric_args={
                        "condition": condition,
                        "records": run.evaluated[run.name][benchmark][condition].get("n"),
                        "interval_95": [_rounded(level.low), _rounded(level.high)],
                    },
                )
            )
    return found


def records_of(run: Run, benchmark: str) -> str:
    """The name of the records: the published benchmark, or other records in its format."""
    title = BENCHMARKS[benchmark].title
    if run.source == "published" or benchmark in run.datasets:
        return title
    return f"{title}'s format, " + ("shapes world" if run.source == "shapes" else "records of the publisher")


def leaderboard_entries(run: Run) -> dict[str, list[EvalResultEntry]]:
    """The entries of `.eval_results/BENCHMARK.yaml` by benchmark: its main number.

    The hub adds an entry to the leaderboard of its dataset. Benchmarks whose records are not a hub dataset
    have no entry.
    """
    found = {}
    for benchmark, known in run.datasets.items():
        if (condition := run.condition(run.name, benchmark)) is None:
            continue
        main, _ = BENCHMARKS[benchmark].display.main
        for level in levels(run, run.name, benchmark, condition):
            if level.metric == main:
                asked = CONDITIONS[condition].label if condition in CONDITIONS else condition
                entry = EvalResultEntry(
                    dataset_id=known.id,
                    task_id="default",
                    value=round(level.value, 2),
                    dataset_revision=known.revision,
                    notes=f"{main}, {asked}",
                )
                found[benchmark] = [entry]
    return found


@dataclass(frozen=True)
class ResultTable:
    """A benchmark's numbers: one row for each metric, one column for each condition."""

    title: str
    records: str
    n: int | None
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    protocol: list[tuple[str, str]]


def tables(run: Run) -> Iterator[ResultTable]:
    """A table for each benchmark, the condition that the checkpoint is meant for first."""
    for benchmark in run.benchmarks:
        meant = run.meant(benchmark)
        numbers = run.evaluated[run.name][benchmark]
        others = [name for name in numbers if name != meant and isinstance(numbers[name], dict)]
        conditions = [meant, *(name for name in others if name in CONDITIONS)]
        found = {
            condition: {level.metric: level for level in levels(run, run.name, benchmark, condition)}
            for condition in conditions
        }
        yield ResultTable(
            title=BENCHMARKS[benchmark].title,
            records=records_of(run, benchmark),
            n=numbers[meant].get("n"),
            columns=[CONDITIONS[name].label if name in CONDITIONS else name for name in conditions],
            rows=[
                (level.title, [str(found[name].get(metric, "-")) for name in conditions])
                for metric, level in found[meant].items()
            ],
            protocol=protocol(run, benchmark, meant),
        )


def protocol(run: Run, benchmark: str, condition: str) -> list[tuple[str, str]]:
    """The protocol of a number as pairs of name and value.

    The metrics' own protocol if there is one, else what the parameters say.
    """
    numbers = run.evaluated[run.name][benchmark][condition]
    stated = numbers.get("protocol") or run.protocols.get(benchmark, {}).get(condition)
    if isinstance(stated, Mapping) and stated:
        return [*_written(stated)]
    frames, asked = run.parameters.get("sample_frames", {}), run.parameters.get("evaluate", {})
    sampling = frames.get(benchmark) or vars(BENCHMARKS[benchmark].sampling)
    chosen = {
        "records": numbers.get("n"),
        "frames": {"max_pixels": frames.get("max_pixels")}
        | {k: v for k, v in sampling.items() if v is not None},
        "temperature": CONDITIONS[condition].temperature if condition in CONDITIONS else None,
        "max_new_tokens": asked.get("max_new_tokens"),
        "judge": asked.get("judge") or {"kind": "rouge"},
        "engine": "vllm" if asked.get("vllm") else "transformers",
        "seed": asked.get("seed"),
    }
    return [*_written({name: value for name, value in chosen.items() if value is not None})]


def _written(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of nested mappings as text, long ones cut."""
    for name, value in flat(values):
        text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
        yield name, text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
