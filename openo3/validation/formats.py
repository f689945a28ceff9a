"""How each annotation file is checked: a row's canonical record, the files it needs, and its facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from openo3.annotations import rejections, stgr
from openo3.annotations.rejections import Reason, RowError
from openo3.benchmarks import registry
from openo3.benchmarks.base import Benchmark, Facts, Fitted, Record, unchanged
from openo3.core.schema import Sample, Task
from openo3.validation import facts

_STGR_MEDIA = {"video": "video_path", "image": "image_path"}

BENCHMARK = "benchmark"
"""The task shown for a benchmark's records."""

Labels = tuple[str | None, str | None, str | None]
"""`(id, source, task)`."""


@dataclass(frozen=True)
class CheckedRow:
    """A readable row: its canonical record, the files it needs, and its facts."""

    record: dict[str, Any]
    media: str
    kind: Literal["video", "image"]
    facts: Facts
    key_images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """`read` gives a row, or raises `RowError`; `labels` say as much of any row as can be said.

    `output` is where accepted records go below `data/validated`: JSON Lines, or one JSON list. Where ids
    are `unique`, a later row of the same source and id is a duplicate. `media_fields` name a row's media.
    `fit` fits an accepted record to its media (`openo3.benchmarks.base.Benchmark`).
    """

    output: str
    read: Callable[[Any], CheckedRow]
    media_fields: Mapping[str, str]
    labels: Callable[[Any], Labels] = rejections.labels
    unique: bool = True
    fit: Callable[[Record, tuple[int, int] | None, float], Fitted] = unchanged


def _supervised(raw: Any) -> CheckedRow:
    sample = _parsed(raw)
    return _sample_row(sample, facts.of_sample(sample, supervised=True))


def _reinforced(raw: Any) -> CheckedRow:
    sample = replace(_parsed(raw), reasoning=None)
    return _sample_row(sample, facts.of_sample(sample, supervised=False))


def _parsed(raw: Any) -> Sample:
    """Parse an STGR row. Raises `RowError`, also for options in a separate field, which no prompt shows."""
    sample = stgr.parse(raw)
    if (
        sample.task in (Task.MCQ, Task.TEMPORAL_MCQ)
        and raw.get("options")
        and not facts.listed(sample.question)
    ):
        detail = "the question lists no options; write those of the field `options` into it, one per line"
        raise RowError(Reason.UNKNOWN_OPTION, "options", detail)
    return sample


def _sample_row(sample: Sample, sample_facts: Facts) -> CheckedRow:
    images = tuple(frame.path for frame in sample.key_frames if frame.path)
    kind = "image" if sample.is_image else "video"
    return CheckedRow(sample.to_json(), sample.media, kind, sample_facts, images)


def _benchmark(benchmark: Benchmark) -> Format:
    """Records of benchmarks have neither task nor source, nor all of them an id: else their media's name."""

    def read(raw: Any) -> CheckedRow:
        record = benchmark.parse(raw)
        return CheckedRow(record, record["media"], "video", benchmark.facts(record))

    def labels(raw: Any) -> Labels:
        field = benchmark.id_field or benchmark.media_field
        found = raw.get(field) if isinstance(raw, Mapping) else None
        return rejections.label(found), benchmark.name, BENCHMARK

    media_fields = {"video": benchmark.media_field}
    output = f"bench/{benchmark.name}.json"
    return Format(output, read, media_fields, labels, unique=False, fit=benchmark.fit)


FORMATS: Mapping[str, Format] = {
    "sft": Format("sft.jsonl", _supervised, _STGR_MEDIA),
    "rl": Format("rl.jsonl", _reinforced, _STGR_MEDIA),
    **{name: _benchmark(benchmark) for name, benchmark in registry.BENCHMARKS.items()},
}
"""By the name of the annotation file (`openo3.annotations.files`)."""
