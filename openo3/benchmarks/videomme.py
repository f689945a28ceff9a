"""Video-MME: multiple-choice questions about short, medium and long videos.

The published file is a Parquet file of texts. A record's group is its `duration`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openo3.annotations import choice_records, sources
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Record
from openo3.benchmarks.choices import choice_benchmark


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """Raises `AnnotationError` for a file that is no Parquet file of texts."""
    columns = ("videoID", "question_id", "duration", "question", "options", "answer")
    return choice_records.parquet_rows(Path(path), columns)


def references(raw: Any) -> list[Reference]:
    """The record's video."""
    return sources.video("videomme", raw, "videoID")


def parse(raw: Any) -> Record:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type."""
    [video] = references(raw)
    options = choice_records.options(raw, "options")
    return choice_records.record(raw, video, name="question_id", options=options, group="duration")


VIDEOMME = choice_benchmark(
    "videomme",
    "Video-MME",
    "Video-MME.parquet",
    rows=rows,
    references=references,
    parse=parse,
    media_field="videoID",
    id_field="question_id",
    groups=("short", "medium", "long"),
)
