"""TVGBench: when in the video a described event happens.

A record, and below the dots what `result` adds:

    {"path": "charades/X1.mp4", "question": "person opens the fridge", "answer": "13.4-28.1",
     "duration": 30.5, "qsemtype": "action", "dataset_name": "charades_sta", ...
     "answer_temporal": [13.0, 27.5], "answer_temporal_pre": "<think>..."}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openo3.benchmarks.judges import Judge
from openo3.core import prompts
from openo3.core.evidence import parse_completion, read_times
from openo3.core.format_check import format_share
from openo3.core.geometry import BoxSpace, Span, tiou
from openo3.core.metrics import SPAN_THRESHOLDS, bootstrap, with_intervals
from openo3.core.schema import Task
from openo3.files.artifacts import read_json

Record = dict[str, Any]


def load(path: str | Path) -> list[Record]:
    """The records of `TVGBench.json`, or of its validated form."""
    return read_json(path)


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


def rate(results: Sequence[Record], judge: Judge) -> Sequence[Record]:
    """Nothing here needs a judge."""
    return results


def score(results: Sequence[Mapping[str, Any]], judge: Judge | None = None) -> dict[str, Any]:
    """`m_tIoU`, `R1@0.3`, `R1@0.5`, `R1@0.7` and `format`, with 95 % `intervals` and `n`; asks no judge."""
    overlaps = tious(results)
    columns = {"m_tIoU": overlaps}
    columns |= {f"R1@{least}": [overlap >= least for overlap in overlaps] for least in SPAN_THRESHOLDS}
    columns["format"] = [record["format"] for record in results]
    intervals = dict(zip(columns, bootstrap(list(zip(*columns.values(), strict=True))), strict=True))
    return with_intervals(intervals, len(results))


def tious(results: Sequence[Mapping[str, Any]]) -> list[float]:
    """Temporal IoU of each record's answer with its truth; 0 for an answer without exactly two numbers."""
    return [
        tiou(tuple(record["answer_temporal"]), true_span(record)) if record["answer_temporal"] else 0.0
        for record in results
    ]


def true_span(record: Mapping[str, Any]) -> Span:
    """`(start_s, end_s)` of an answer like `13.4-28.1`."""
    start, end = record["answer"].split("-")
    return float(start), float(end)
