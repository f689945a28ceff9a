"""NExT-GQA: which of five answers is right, and when the video shows it.

The published files are a folder with `test.csv` (questions) and `gsub_test.json` (spans):

    video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4
    {"10001787725": {"duration": 34, "location": {"1": [[1.2, 5.8]]}, "fps": 29.97}, ...}

A record as `parse` gives it, and below the dots what `result` adds:

    {"id": "10001787725_1", "video_id": "10001787725", "question": "why did the boy bend down",
     "options": ["pick up a ball", ...], "answer": "A", "group": "CW", "spans": [[1.2, 5.8]],
     "media": "videos/nextgqa/10001787725.mp4", ...
     "said": "A", "completion": "<think>...", "answer_temporal": [1.0, 6.0], "answer_temporal_pre": "...",
     "format": 1.0}

Metrics, over all records: `Acc@QA`; `mIoP` and `mIoU`, the overlap with the best true span as a share of the
answered span and of both; `IoP@0.3`, `IoP@0.5`, `IoU@0.3`, `IoU@0.5`; and `Acc@GQA`, the share of records
with the right answer and an IoP of at least 0.5.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from openo3.annotations import choice_records, sources
from openo3.annotations import rows as fields
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.annotations.sources import Reference
from openo3.benchmarks import choices, grounding
from openo3.benchmarks.base import (
    Benchmark,
    Display,
    Facts,
    Fitted,
    Record,
    Results,
    Scoring,
    Truth,
    Votable,
    fit_span,
)
from openo3.core.geometry import BoxSpace, Span, tiou
from openo3.core.prompts import Prompts

_OPTIONS = ("a0", "a1", "a2", "a3", "a4")
_THRESHOLDS = (0.3, 0.5)
_ASKING = choices.MultipleChoice()


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The questions of a folder, each with its `spans`; or those of its CSV file alone, without.

    Raises `AnnotationError` for a file that is not CSV or JSON of the published form.
    """
    path = Path(path)
    parts = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    spans: dict[str, Any] = {}
    for part in parts:
        if part.suffix == ".json":
            spans |= _spans(part)
    for part in parts:
        if part.suffix == ".csv":
            for row in _questions(part):
                located = fields.mapping(spans.get(str(row.get("video_id"))), "spans").get("location")
                found = located.get(str(row.get("qid"))) if isinstance(located, Mapping) else None
                yield {**row, "spans": found, "id": f"{row.get('video_id')}_{row.get('qid')}"}


def _spans(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise AnnotationError(f"{path}: not a JSON object of videos, found {fields.shown(found)}")
    return {video: facts for video, facts in found.items() if isinstance(facts, dict)}


def _questions(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            if missing := {"video_id", "qid", "question", "answer", *_OPTIONS} - set(reader.fieldnames or ()):
                raise AnnotationError(f"{path}: no column {sorted(missing)[0]}")
            for row in reader:
                yield {name: value for name, value in row.items() if isinstance(name, str)}
    except (OSError, csv.Error) as error:
        raise AnnotationError(f"{path}: {error}") from None


def references(raw: Any) -> list[Reference]:
    """The record's video."""
    return sources.video("nextgqa", raw, "video_id")


def parse(raw: Any) -> Record:
    """The record with its options, the letter of the answer and its `media`.

    Raises `RowError` if a field is absent or of a wrong type, or the answer is not one of the options.
    """
    [video] = references(raw)
    options = [fields.text(raw, name) for name in _OPTIONS]
    answer = fields.text(raw, "answer")
    if answer not in options:
        raise RowError(Reason.UNKNOWN_OPTION, "answer", fields.shown(answer))
    record = {
        "id": fields.identifier(raw),
        "video_id": fields.identifier(raw, "video_id"),
        "question": fields.text(raw, "question"),
        "options": options,
        "answer": ascii_uppercase[options.index(answer)],
        "group": str(raw.get("type") or "other"),
        "spans": raw.get("spans"),
        "media": video.media,
    }
    true_spans(record)
    return record


def check(raw: Any) -> Record:
    """A record that `parse` gave. Raises `RowError` if a field is of a wrong type."""
    record = choice_records.checked(raw)
    true_spans(record)
    return record


def true_spans(record: Mapping[str, Any]) -> list[Span]:
    """Every `(start_s, end_s)`, at least one. Raises `RowError` if there is none."""
    listed = fields.listed(record.get("spans"), "spans")
    if not listed:
        raise RowError(Reason.FIELD_MISSING, "spans", "no span is given for the question")
    return [fields.numbers(span, f"spans[{index}]", 2) for index, span in enumerate(listed)]


def facts(record: Record) -> Facts:
    """What the rules of `openo3.validation` are checked over."""
    return {"question.chars": len(record["question"].strip())}


def fit(record: Record, size: tuple[int, int] | None, tolerance_s: float) -> Fitted:
    """The record with its spans within the video."""
    pairs = [
        fit_span(f"spans[{index}]", span, record["duration_s"], tolerance_s)
        for index, span in enumerate(true_spans(record))
    ]
    notes = [note for _, found in pairs for note in found]
    return ({**record, "spans": [list(span) for span, _ in pairs]} if notes else record), notes


def questions(record: Mapping[str, Any], space: BoxSpace, prompts: Prompts) -> dict[str, str]:
    """Two prompts: which answer, and when the video shows it."""
    when = prompts.when_answered(record["question"])
    return {**_ASKING.questions(record, space, prompts), "when": when}


def result(record: Mapping[str, Any], completions: Mapping[str, str], space: BoxSpace) -> Record:
    """The record with both answers; `format` is the share of well-formed completions."""
    which = _ASKING.result(record, completions, space)
    both = grounding.result(which, completions, space)
    return {**both, "format": (which["format"] + both["format"]) / 2}


def overlaps(record: Mapping[str, Any]) -> tuple[float, float]:
    """`(IoP, IoU)` of the answered span with the true span that is best for each; 0 without a span.

    A point inside a true span has an IoP of 1, as in the published scorer.
    """
    if not record["answer_temporal"]:
        return 0.0, 0.0
    said = tuple(record["answer_temporal"])
    pairs = [(_share_of_answer(said, true), tiou(said, true)) for true in true_spans(record)]
    return max(iop for iop, _ in pairs), max(iou for _, iou in pairs)


def _share_of_answer(said: Span, true: Span) -> float:
    if said[0] == said[1]:
        return float(true[0] <= said[0] <= true[1])
    length = said[1] - said[0]
    return max(min(said[1], true[1]) - max(said[0], true[0]), 0.0) / length if length > 0 else 0.0


_COLUMNS = (
    "Acc@GQA",
    "Acc@QA",
    "mIoP",
    "mIoU",
    *(f"{name}@{least}" for name in ("IoP", "IoU") for least in _THRESHOLDS),
)


def _scores(results: Results) -> list[list[float]]:
    found = []
    for record in results:
        (iop, iou), right = overlaps(record), float(record["correct"] or 0.0)
        reached = [float(share >= least) for share in (iop, iou) for least in _THRESHOLDS]
        found.append([float(right and iop >= 0.5), right, iop, iou, *reached])
    return found


def truth(record: Mapping[str, Any]) -> Truth:
    """What the report shows as the truth."""
    shown = choices.truth("NExT-GQA", record)
    spans = true_spans(record)
    when = ", ".join(f"{start:g} to {end:g} s" for start, end in spans)
    return Truth(f"{shown.text} · {when}", shown.labels, spans[0], options=shown.options)


NEXTGQA = Benchmark(
    name="nextgqa",
    title="NExT-GQA",
    filename="NExT-GQA/",
    rows=rows,
    references=references,
    parse=parse,
    check=check,
    facts=facts,
    fit=fit,
    media_field="video_id",
    id_field="id",
    questions=questions,
    result=result,
    rate=_ASKING.rate,
    votable=Votable("which", "said", "Acc@QA"),
    scoring=Scoring(
        columns=_COLUMNS,
        metrics=_COLUMNS,
        rows=_scores,
        overall=lambda score: (score["Acc@QA"] + score["mIoP"]) / 2,
        asks={"which": {"what": "Acc@QA"}, "when": {"when": "mIoP"}},
    ),
    truth=truth,
    display=Display(
        columns=(
            ("Acc@GQA", "Acc@GQA", "right, IoP ≥ 0.5"),
            ("Acc@QA", "Acc@QA", "right"),
            ("mIoP", "mIoP", "mean"),
            ("IoP@0.5", "IoP@0.5", "IoP ≥ 0.5"),
            ("mIoU", "mIoU", "mean"),
            ("IoU@0.5", "IoU@0.5", "IoU ≥ 0.5"),
            ("format", "Format", "well formed"),
        ),
        main=("Acc@GQA", "NExT-GQA's Acc@GQA"),
        axes={"Acc@QA": "NExT-GQA's accuracy", "mIoP": "NExT-GQA's IoP"},
        headlines={"Acc@GQA": "Questions answered right, at the right time", "Acc@QA": "Answered right"},
        spreads={"mIoU": "When: temporal IoU, NExT-GQA"},
        max_examples=4,
        parts={"when": "mIoU"},
    ),
)
