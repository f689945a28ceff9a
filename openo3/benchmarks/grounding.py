"""What benchmarks share that ask when an event happens: one prompt, one span, recall at overlaps.

`result` adds to a record:

    {..., "answer_temporal": [13.0, 27.5], "answer_temporal_pre": "<think>...", "format": 1.0,
     "read": {"when": "tags"}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from openo3.annotations import rows as fields
from openo3.annotations.rows import read_rows
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import (
    LONG,
    Benchmark,
    Display,
    Facts,
    Fitted,
    FrameSampling,
    Record,
    Results,
    Scoring,
    Truth,
)
from openo3.core.evidence import parse_completion
from openo3.core.format_check import format_share
from openo3.core.geometry import BoxSpace, Span, tiou
from openo3.core.metrics import SPAN_THRESHOLDS
from openo3.core.prompts import Prompts
from openo3.core.reading import times_by_rule
from openo3.core.schema import Task

TrueSpan = Callable[[Mapping[str, Any]], Span]
"""A record's true `(start_s, end_s)`; raises `RowError` if it has none."""


def parse_record(references: Callable[[Any], list[Reference]], true_span: TrueSpan, raw: Any) -> Record:
    """The record with its `media`. Raises `RowError` if a field is absent or of a wrong type."""
    [video] = references(raw)
    fields.text(raw, "question")
    true_span(raw)
    return {**raw, "media": video.media}


def facts(record: Record) -> Facts:
    """What the rules of `openo3.validation` are checked over."""
    return {"question.chars": len(record["question"].strip())}


def questions(record: Mapping[str, Any], space: BoxSpace, prompts: Prompts) -> dict[str, str]:
    """One prompt: when."""
    return {"when": prompts.task(Task.TEMPORAL, record["question"])}


def result(record: Mapping[str, Any], completions: Mapping[str, str], space: BoxSpace) -> Record:
    """The record with its answer; `format` is 1 for a completion in the form that was asked for, else 0."""
    text = completions.get("when", "")
    completion = parse_completion(text)
    formed = format_share(Task.TEMPORAL, completion) == 1 and completion.answer_span is not None
    span, rule = times_by_rule(text)
    return {
        **record,
        "answer_temporal": list(span or ()),
        "answer_temporal_pre": text,
        "format": float(formed),
        "read": {**record.get("read", {}), "when": rule},
    }


def tious(true_span: TrueSpan, results: Results) -> list[float]:
    """Temporal IoU of each record's answer with its truth; 0 for an answer without exactly two numbers."""
    return [
        tiou(tuple(record["answer_temporal"]), true_span(record)) if record["answer_temporal"] else 0.0
        for record in results
    ]


def scoring(true_span: TrueSpan, mean: str) -> Scoring:
    """The mean temporal IoU, called `mean`, and `R1@0.3`, `R1@0.5`, `R1@0.7`."""
    columns = (mean, *(f"R1@{least}" for least in SPAN_THRESHOLDS))

    def rows(results: Results) -> list[list[float]]:
        shares = tious(true_span, results)
        return [[share, *(float(share >= least) for least in SPAN_THRESHOLDS)] for share in shares]

    return Scoring(columns, columns, rows, overall=lambda score: score[mean], asks={"when": {"when": mean}})


def grounding_benchmark(
    name: str,
    title: str,
    filename: str,
    *,
    references: Callable[[Any], list[Reference]],
    fit: Callable[[Record, tuple[int, int] | None, float], Fitted],
    true_span: TrueSpan,
    media_field: str,
    id_field: str = "",
    parse: Callable[[Any], Record] | None = None,
    rows: Callable[[str | Path], Iterator[Any]] = read_rows,
    sampling: FrameSampling = LONG,
    mean: str = "m_tIoU",
) -> Benchmark:
    """A benchmark about spans, whose mean temporal IoU is called `mean`; see `Benchmark` for the rest.

    Without a `parse` of its own, records need a question, a true span and a video.
    """
    return Benchmark(
        name=name,
        title=title,
        filename=filename,
        rows=rows,
        references=references,
        parse=parse or partial(parse_record, references, true_span),
        facts=facts,
        fit=fit,
        media_field=media_field,
        id_field=id_field,
        sampling=sampling,
        questions=questions,
        result=result,
        scoring=scoring(true_span, mean),
        truth=partial(_truth, true_span),
        display=Display(
            columns=(
                (mean, "When", "mean tIoU"),
                *((f"R1@{least}", f"R1@{least}", f"tIoU ≥ {least}") for least in SPAN_THRESHOLDS),
                ("format", "Format", "well formed"),
            ),
            main=(mean, f"{title}'s tIoU"),
            axes={mean: f"{title}'s tIoU"},
            headlines={
                mean: "Overlap of answered and true span",
                "R1@0.5": "Spans that overlap by half or more",
            },
            spreads={mean: f"When: temporal IoU, {title}"},
            single="span",
        ),
    )


def _truth(true_span: TrueSpan, record: Mapping[str, Any]) -> Truth:
    return Truth(span=true_span(record))
