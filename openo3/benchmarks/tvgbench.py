"""TVGBench: when in the video a described event happens.

A record of `TVGBench.json`. `parse` adds its `media`, relative to `data/raw/media`, and `validate` its
`duration_s`; below the dots is what `result` adds:

    {"path": "charades/X1.mp4", "question": "person opens the fridge", "answer": "13.4-28.1",
     "duration": 30.5, "qsemtype": "action", "dataset_name": "charades_sta", ...
     "answer_temporal": [13.0, 27.5], "answer_temporal_pre": "<think>..."}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openo3.annotations import rows, sources
from openo3.annotations.facts import Facts, span_facts
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Benchmark, Display, Record, Results, Scoring, Truth
from openo3.core import prompts
from openo3.core.evidence import parse_completion, read_times
from openo3.core.format_check import format_share
from openo3.core.geometry import BoxSpace, Span, tiou
from openo3.core.metrics import SPAN_THRESHOLDS
from openo3.core.schema import Task

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


def questions(record: Mapping[str, Any], space: BoxSpace) -> dict[str, str]:
    """One prompt: when."""
    return {"when": prompts.tvg_when(record["question"])}


def result(record: Mapping[str, Any], completions: Mapping[str, str], space: BoxSpace) -> Record:
    """The record with its answer; `format` is 1 for a completion in the form that was asked for, else 0."""
    text = completions.get("when", "")
    completion = parse_completion(text)
    formed = format_share(Task.TEMPORAL, completion) == 1 and completion.answer_span is not None
    return {
        **record,
        "answer_temporal": list(read_times(text) or ()),
        "answer_temporal_pre": text,
        "format": float(formed),
    }


def tious(results: Results) -> list[float]:
    """Temporal IoU of each record's answer with its truth; 0 for an answer without exactly two numbers."""
    return [
        tiou(tuple(record["answer_temporal"]), true_span(record)) if record["answer_temporal"] else 0.0
        for record in results
    ]


def true_span(record: Mapping[str, Any]) -> Span:
    """`(start_s, end_s)` of an answer like `13.4-28.1`. Raises `RowError` for any other."""
    answer = rows.text(record, "answer")
    if not (found := _SPAN.fullmatch(answer)):
        raise RowError(Reason.BAD_ANSWER, "answer", f'expected "13.4-28.1", found {rows.shown(answer)}')
    return float(found[1]), float(found[2])


def _rows(results: Results) -> list[list[float]]:
    return [[share, *(float(share >= least) for least in SPAN_THRESHOLDS)] for share in tious(results)]


_COLUMNS = ("m_tIoU", *(f"R1@{least}" for least in SPAN_THRESHOLDS))

TVGBENCH = Benchmark(
    name="tvgbench",
    title="TVGBench",
    filename="TVGBench.json",
    references=references,
    parse=parse,
    facts=facts,
    media_field="path",
    questions=questions,
    result=result,
    scoring=Scoring(_COLUMNS, _COLUMNS, _rows, overall=lambda score: score["m_tIoU"]),
    truth=lambda record: Truth(span=true_span(record)),
    display=Display(
        columns=(
            ("m_tIoU", "When", "mean tIoU"),
            ("R1@0.3", "R1@0.3", "tIoU ≥ 0.3"),
            ("R1@0.5", "R1@0.5", "tIoU ≥ 0.5"),
            ("R1@0.7", "R1@0.7", "tIoU ≥ 0.7"),
            ("format", "Format", "well formed"),
        ),
        main=("m_tIoU", "TVGBench's tIoU"),
        axes={"m_tIoU": "TVGBench's tIoU"},
        headlines={
            "m_tIoU": "Overlap of answered and true span",
            "R1@0.5": "Spans that overlap by half or more",
        },
        spreads={"m_tIoU": "When: temporal IoU, TVGBench"},
        single="span",
    ),
)
