"""Charades-STA: when in a clip of daily life a described event happens.

The published file is text, a record a line: `VIDEO START END##SENTENCE`, times in seconds.

    3MSZA 24.3 30.4##person turn a light on.

A record as `rows` reads it, and `media`, relative to `data/raw/media`, that `parse` adds:

    {"id": "1", "video": "3MSZA", "start": 24.3, "end": 30.4, "question": "person turn a light on.",
     "media": "videos/charades/3MSZA.mp4"}

`id` is the number of the line, from 1. Metrics are those of the published tables: `R1@0.3`, `R1@0.5`,
`R1@0.7` and `mIoU`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openo3.annotations import rows as fields
from openo3.annotations import sources
from openo3.annotations.rows import AnnotationError
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Fitted, Record, fit_span
from openo3.benchmarks.grounding import grounding_benchmark
from openo3.core.geometry import Span

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_LINE = re.compile(rf"(\S+)\s+({_NUMBER})\s+({_NUMBER})\s*##(.*)")


def rows(path: str | Path) -> Iterator[Any]:
    """The records of the lines; a line of another form is given as its text, which `parse` rejects.

    Raises `AnnotationError` if the file cannot be read, or no line has the form.
    """
    found = False
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, start=1):
                if not (text := line.strip()):
                    continue
                match = _LINE.fullmatch(text)
                found = found or match is not None
                yield _record(number, match) if match else text
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror}") from None
    if not found:
        raise AnnotationError(f"{path}: no line has the form `VIDEO START END##SENTENCE`")


def _record(number: int, match: re.Match[str]) -> dict[str, Any]:
    video, start, end, sentence = match.groups()
    times = {"start": float(start), "end": float(end)}
    return {"id": str(number), "video": video, **times, "question": sentence.strip()}


def references(raw: Any) -> list[Reference]:
    """The record's video."""
    return sources.video("charades", raw, "video")


def true_span(record: Mapping[str, Any]) -> Span:
    """`(start_s, end_s)`."""
    return fields.number(record.get("start"), "start"), fields.number(record.get("end"), "end")


def fit(record: Record, size: tuple[int, int] | None, tolerance_s: float) -> Fitted:
    """The record with its span within the video."""
    (start, end), notes = fit_span("end", true_span(record), record["duration_s"], tolerance_s)
    return ({**record, "start": start, "end": end} if notes else record), notes


CHARADES = grounding_benchmark(
    "charades",
    "Charades-STA",
    "charades_sta_test.txt",
    rows=rows,
    references=references,
    fit=fit,
    true_span=true_span,
    media_field="video",
    id_field="id",
    mean="mIoU",
)
