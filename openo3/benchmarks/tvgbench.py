"""TVGBench: when in the video a described event happens.

A record of `TVGBench.json`, and below the dots what `parse` and `validate` add:

    {"path": "./dataset/timer1/videos/tvgbench_data/X1.mp4", "question": "person opens the fridge",
     "answer": "13.4-28.1", "start": 60.0, "end": 90.5, "duration": 30.5, "qsemtype": "action",
     "dataset_name": "charades_sta", ...
     "media": "videos/tvgbench/dataset/timer1/videos/tvgbench_data/X1.mp4", "duration_s": 30.5,
     "segment": [60.0, 90.5], "frames": "videos/tvgbench/...#t=60.000,90.500"}

`media` is relative to `data/raw/media`; the file itself is found by the longest matching end of its path. A
record with `start` and `end` is about that segment of the video: only the segment is shown, `duration_s` is
its length, and its answer is relative to its start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openo3.annotations import rows, sources
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Fitted, Record, fit_span
from openo3.benchmarks.grounding import grounding_benchmark, parse_record
from openo3.core.geometry import Span

_SPAN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*-\s*([0-9]+(?:\.[0-9]+)?)\s*")


def references(raw: Any) -> list[Reference]:
    """The record's video."""
    path = rows.text(rows.record(raw), "path")
    return [sources.reference(sources.get("tvgbench"), "videos", path, "path")]


def parse(raw: Any) -> Record:
    """The record with its `media`.

    Raises `RowError` if a field is absent or of a wrong type, or the answer is not `start-end`.
    """
    record = parse_record(references, true_span, raw)
    if segment := _segment(raw):
        start, end = segment
        record |= {"segment": [start, end], "frames": f"{record['media']}#t={start:.3f},{end:.3f}"}
    return record


def _segment(raw: Mapping[str, Any]) -> Span | None:
    """The part of the video that the record is about; None if it is about the whole."""
    if raw.get("start") is None or raw.get("end") is None:
        return None
    start, end = rows.number(raw["start"], "start"), rows.number(raw["end"], "end")
    return (start, end) if 0 <= start < end else None


def fit(record: Record, size: tuple[int, int] | None, tolerance_s: float) -> Fitted:
    """The record with its answer within what is shown, whose length `duration_s` then is."""
    duration_s = record["duration_s"]
    if "segment" in record:
        start, end = record["segment"]
        duration_s = max(min(end, duration_s) - start, 0.0)
        record = {**record, "duration_s": duration_s}
    (first, last), notes = fit_span("answer", true_span(record), duration_s, tolerance_s)
    return ({**record, "answer": f"{round(first, 3)}-{round(last, 3)}"} if notes else record), notes


def true_span(record: Mapping[str, Any]) -> Span:
    """`(start_s, end_s)` of an answer like `13.4-28.1`. Raises `RowError` for any other."""
    answer = rows.text(record, "answer")
    if not (found := _SPAN.fullmatch(answer)):
        raise RowError(Reason.BAD_ANSWER, "answer", f'expected "13.4-28.1", found {rows.shown(answer)}')
    return float(found[1]), float(found[2])


TVGBENCH = grounding_benchmark(
    "tvgbench",
    "TVGBench",
    "TVGBench.json",
    references=references,
    parse=parse,
    fit=fit,
    true_span=true_span,
    media_field="path",
)
