"""How each annotation file is checked: what a row becomes, which files it needs, what its facts are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from openo3.annotations import bench_records, choice_records, rejections, stgr
from openo3.annotations.rejections import Reason, RowError
from openo3.core.schema import Sample, Task
from openo3.validation import facts

_STGR_MEDIA = {"video": "video_path", "image": "image_path"}

BENCHMARK = "benchmark"
"""What stands for the task of a benchmark's record."""

Labels = tuple[str | None, str | None, str | None]
"""`(id, source, task)`."""


@dataclass(frozen=True)
class CheckedRow:
    """A readable row: its canonical record, the files it needs, and its facts."""

    record: dict[str, Any]
    media: str
    kind: Literal["video", "image"]
    facts: facts.Facts
    key_images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """`read` gives a row, or raises `RowError`; `labels` say as much of any row as can be said.

    `output` is where accepted records go below `data/validated`: JSON Lines, or one JSON list. Where ids
    are `unique`, a later row of the same source and id is a duplicate. `media_fields` name a row's media.
    """

    output: str
    read: Callable[[Any], CheckedRow]
    media_fields: Mapping[str, str]
    labels: Callable[[Any], Labels] = rejections.labels
    unique: bool = True


def _supervised(raw: Any) -> CheckedRow:
    sample = _parsed(raw)
    return _sample_row(sample, facts.of_sample(sample, supervised=True))


def _reinforced(raw: Any) -> CheckedRow:
    sample = replace(_parsed(raw), reasoning=None)
    return _sample_row(sample, facts.of_sample(sample, supervised=False))


def _parsed(raw: Any) -> Sample:
    """Raises `RowError`, also where the options are in a field of their own, which no prompt shows."""
    sample = stgr.parse(raw)
    if (
        sample.task in (Task.MCQ, Task.TEMPORAL_MCQ)
        and raw.get("options")
        and not facts.listed(sample.question)
    ):
        detail = "the question lists no options; write those of the field `options` into it, one per line"
        raise RowError(Reason.UNKNOWN_OPTION, "options", detail)
    return sample


def _sample_row(sample: Sample, sample_facts: facts.Facts) -> CheckedRow:
    images = tuple(frame.path for frame in sample.key_frames if frame.path)
    kind = "image" if sample.is_image else "video"
    return CheckedRow(sample.to_json(), sample.media, kind, sample_facts, images)


def _benchmark(
    name: str,
    media_field: str,
    parse: Callable[[Any], dict[str, Any]],
    measure: Callable[[dict[str, Any]], facts.Facts],
    id_field: str = "",
) -> Format:
    """Records of benchmarks have neither task nor source, nor all of them an id: else their media's name."""

    def read(raw: Any) -> CheckedRow:
        record = parse(raw)
        return CheckedRow(record, record["media"], "video", measure(record))

    def labels(raw: Any) -> Labels:
        found = raw.get(id_field or media_field) if isinstance(raw, Mapping) else None
        return rejections.label(found), name, BENCHMARK

    return Format(f"bench/{name}.json", read, {"video": media_field}, labels, unique=False)


FORMATS: Mapping[str, Format] = {
    "sft": Format("sft.jsonl", _supervised, _STGR_MEDIA),
    "rl": Format("rl.jsonl", _reinforced, _STGR_MEDIA),
    "vstar": _benchmark("vstar", "vid", bench_records.parse_vstar, facts.of_vstar),
    "tvgbench": _benchmark("tvgbench", "path", bench_records.parse_tvgbench, facts.of_tvgbench),
    "videomme": _benchmark(
        "videomme", "videoID", choice_records.parse_videomme, facts.of_choice, "question_id"
    ),
    "worldsense": _benchmark("worldsense", "video", choice_records.parse_worldsense, facts.of_choice, "id"),
    "videommmu": _benchmark("videommmu", "id", choice_records.parse_videommmu, facts.of_choice, "name"),
}
"""By the name of the annotation file (`openo3.annotations.files`)."""
