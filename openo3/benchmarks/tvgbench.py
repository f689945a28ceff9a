"""TVGBench: when in the video a described event happens.

A record of `TVGBench.json`; `parse` adds its `media`, relative to `data/raw/media`, and `validate` its
`duration_s`:

    {"path": "charades/X1.mp4", "question": "person opens the fridge", "answer": "13.4-28.1",
     "duration": 30.5, "qsemtype": "action", "dataset_name": "charades_sta"}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openo3.annotations import rows, sources
from openo3.annotations.facts import Facts, span_facts
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Record
from openo3.benchmarks.grounding import grounding_benchmark
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
    [video] = references(raw)
    rows.text(raw, "question")
    true_span(raw)
    return {**raw, "media": video.media}


def facts(record: Record) -> Facts:
    """What the rules of `openo3.validation` are checked over."""
    return {
        "question.chars": len(record["question"].strip()),
        **span_facts("answer", true_span(record)),
    }


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
    facts=facts,
    true_span=true_span,
    media_field="path",
)
