"""V-STaR: what, when and where, asked about one event in two orders.

A record of `V_STaR_test.json`, boxes in source pixels of `width` x `height`, times in seconds. `parse` adds
its `media`, relative to `data/raw/media`, `validate` its `duration_s`. Below the dots is what `result` adds:

    {"vid": "6Kp", "domain": "Daily life", "fps": 30.0, "width": 1280, "height": 720, "frame_count": 900,
     "question": "What does she lift?", "answer": "a cup", "timestamps": [3.2, 6.0],
     "temporal_question": "When does she lift it?", "spatial_question": "Where is the cup?",
     "spatial_question_2": "Where is the lifted thing?",
     "bboxes": [{"timestamp": 4, "frame_index": 120, "xmin": 10, "ymin": 20, "xmax": 90, "ymax": 80}], ...
     "answer_vqa": "a cup", "answer_temporal": [3.0, 6.0], "answer_temporal_pre": "<think>...",
     "answer_spatial": {"4": [12.0, 20.0, 90.0, 80.0]}, "answer_spatial_pre": "...", "answer_temporal_2": ...}

Chain 1 asks what, when, and where at the true seconds; chain 2 (`_2`) asks where, knowing only how many
boxes there are, and then when, knowing the true boxes. `openo3.benchmarks.vstar_scores` counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from openo3.annotations import rows, sources
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import (
    Benchmark,
    Display,
    Facts,
    Fitted,
    FrameSampling,
    Note,
    PublishedTable,
    Record,
    Truth,
    fit_span,
)
from openo3.benchmarks.vstar_scores import ANSWERS, SCORING, SIDES, answered, rate, report, true_boxes
from openo3.core import prompts
from openo3.core.evidence import parse_completion
from openo3.core.format_check import format_share
from openo3.core.geometry import BoxSpace, Span, pixels
from openo3.core.reading import final_answer, read_times, read_where
from openo3.core.schema import Box, Task

_TEXTS = ("question", "answer", "temporal_question", "spatial_question", "spatial_question_2")
_QUESTIONS = tuple(field for field in _TEXTS if field != "answer")


def references(raw: Any) -> list[Reference]:
    """The record's video."""
    return sources.video("vstar", raw, "vid")


def parse(raw: Any) -> Record:
    """The record with its `media`.

    Raises `RowError` if a field that the five questions or the score need is absent or of a wrong type.
    """
    [video] = references(raw)
    for field in _TEXTS:
        rows.text(raw, field)
    for field in ("domain", "object"):
        if raw.get(field) is not None:
            rows.text(raw, field)
    for field in ("width", "height", "fps", "frame_count"):
        if rows.number(raw.get(field), field) <= 0:
            raise RowError(Reason.WRONG_TYPE, field, f"expected more than 0, found {rows.shown(raw[field])}")
    true_span(raw)
    true_boxes(raw)
    return {**raw, "media": video.media}


def facts(record: Record) -> Facts:
    """What the rules of `openo3.validation` are checked over."""
    return {
        "question.chars": min(len(record[field].strip()) for field in _QUESTIONS),
        "answer.chars": len(record["answer"].strip()),
    }


def fit(record: Record, size: tuple[int, int] | None, tolerance_s: float) -> Fitted:
    """The span within the video and the boxes within the frame; all boxes are kept, empty ones too.

    Boxes are scaled by the record's own `width` and `height`, so a video of another size is only noted.
    """
    span, notes = fit_span("timestamps", true_span(record), record["duration_s"], tolerance_s)
    if notes:
        record = {**record, "timestamps": list(span)}
    width, height = record["width"], record["height"]
    if size is not None and tuple(size) != (width, height):
        notes.append(Note("width", f"annotated {width:g} x {height:g}, the video is {size[0]} x {size[1]}"))
    boxes = []
    for index, (item, (second, box)) in enumerate(
        zip(record["bboxes"] or (), true_boxes(record), strict=True)
    ):
        left, right = (min(max(side, 0), width) for side in box[::2])
        top, bottom = (min(max(side, 0), height) for side in box[1::2])
        inside = (left, top, right, bottom)
        if inside != box:
            notes.append(Note(f"bboxes[{index}]", f"{_written(box)} clipped to {_written(inside)}"))
            item = {**item, **dict(zip(SIDES, inside, strict=True))}
        if left >= right or top >= bottom:
            notes.append(Note(f"bboxes[{index}]", f"{_written(inside)} has no area, kept"))
        if second > record["duration_s"] + tolerance_s:
            notes.append(Note(f"bboxes[{index}]", f"at {second:g} s, after the end of the video, kept"))
        boxes.append(item)
    if not boxes:
        notes.append(Note("bboxes", "there are none, kept"))
    return ({**record, "bboxes": boxes} if boxes != record["bboxes"] else record), notes


def _written(box: Box) -> str:
    return "[" + ", ".join(f"{side:g}" for side in box) + "]"


def questions(record: Mapping[str, Any], space: BoxSpace) -> dict[str, str]:
    """The five prompts; the true boxes that `when_2` is told are in the model's `space`."""
    boxes = [space.from_normalised(box) for _, box in normalised_boxes(record)]
    return {
        "what": prompts.vstar_what(record["question"]),
        "when": prompts.vstar_when(record["temporal_question"]),
        "where": prompts.vstar_where(record["spatial_question"], asked_seconds(record)),
        "where_2": prompts.vstar_where_untimed(record["spatial_question_2"], len(boxes)),
        "when_2": prompts.vstar_when_boxed(record["temporal_question"], boxes),
    }


def result(record: Mapping[str, Any], completions: Mapping[str, str], space: BoxSpace) -> Record:
    """The record with its answers; a question without a completion has an empty one.

    `format` is the share of the five completions in the form that was asked for.
    """
    said = {kind: completions.get(kind, "") for kind in ("what", "when", "where", "where_2", "when_2")}
    answers: dict[str, Any] = {
        "answer_vqa": final_answer(said["what"]),
        "answer_vqa_raw_output": said["what"],
    }
    for suffix in ("", "_2"):
        when, where = said[f"when{suffix}"], said[f"where{suffix}"]
        answers[f"answer_temporal{suffix}"] = list(read_times(when) or ())
        answers[f"answer_temporal_pre{suffix}"] = when
        answers[f"answer_spatial{suffix}"] = _source_boxes(record, where, space)
        answers[f"answer_spatial_pre{suffix}"] = where
    formed = [_well_formed(kind, text) for kind, text in said.items()]
    return {**record, **answers, "format": sum(formed) / len(formed)}


def asked_seconds(record: Mapping[str, Any]) -> list[int]:
    """The whole seconds inside the true span; the one it begins in, if it holds none."""
    start, end = record["timestamps"]
    return list(range(math.ceil(start), math.floor(end) + 1)) or [math.floor(start)]


def true_span(record: Mapping[str, Any]) -> Span:
    """`(start_s, end_s)`. Raises `RowError` if it is not two numbers."""
    return rows.numbers(record.get("timestamps"), "timestamps", 2)


def normalised_boxes(record: Mapping[str, Any]) -> list[tuple[float, Box]]:
    """Every annotated `(second, box normalised 0-1)`. Raises `RowError` as `true_boxes` does."""
    source = pixels((record["width"], record["height"]))
    return [(second, source.to_normalised(box)) for second, box in true_boxes(record)]


def _source_boxes(record: Mapping[str, Any], text: str, space: BoxSpace) -> dict[str, list]:
    """A where-answer in source pixels: second -> box, or a list of boxes where several were given."""
    source = pixels((record["width"], record["height"]))
    where = {}
    for second, boxes in read_where(text, space).items():
        scaled = [[round(value, 2) for value in source.scaled(box)] for box in boxes]
        where[second] = scaled[0] if len(scaled) == 1 else scaled
    return where


def _well_formed(kind: str, text: str) -> bool:
    if kind.startswith("where"):
        return bool(read_where(text))
    task = Task.TEMPORAL_SPATIAL if kind == "what" else Task.TEMPORAL
    completion = parse_completion(text)
    return format_share(task, completion) == 1 and (kind == "what" or completion.answer_span is not None)


def truth(record: Mapping[str, Any]) -> Truth:
    """What the report shows as the truth."""
    start, end = true_span(record)
    boxes = dict(normalised_boxes(record))
    name = record.get("object") or record["answer"]
    return Truth(
        text=f"{record['answer']} · from {start:g} to {end:g} s · {name} in {len(boxes)} boxes",
        labels=(record["vid"], record.get("domain")),
        span=(start, end),
        name=name,
        boxes=boxes,
    )


VSTAR = Benchmark(
    name="vstar",
    title="V-STaR",
    filename="V_STaR_test.json",
    references=references,
    parse=parse,
    facts=facts,
    fit=fit,
    media_field="vid",
    sampling=FrameSampling(fps=1.0, min_frames=1, max_frames=16),
    questions=questions,
    result=result,
    rate=rate,
    scoring=SCORING,
    blocks=report,
    answered=answered,
    answers=ANSWERS,
    truth=truth,
    display=Display(
        columns=(
            ("acc", "What", "accuracy"),
            ("tIoU_1", "When", "tIoU, chain 1"),
            ("vIoU_1", "Where", "vIoU, chain 1"),
            ("tIoU_2", "When", "tIoU, chain 2"),
            ("vIoU_2", "Where", "vIoU, chain 2"),
            ("mAM", "mAM", "mean of all"),
            ("mLGM", "mLGM", "log mean"),
            ("format", "Format", "well formed"),
        ),
        main=("mAM", "mAM"),
        axes={
            "acc": "What",
            "tIoU_1": "When (chain 1)",
            "vIoU_1": "Where (chain 1)",
            "tIoU_2": "When (chain 2)",
            "vIoU_2": "Where (chain 2)",
        },
        headlines={
            "mAM": "What, when and where, averaged over both chains",
            "mLGM": "The same on a log scale: rewards being good at all three",
            "acc": "Questions answered right",
            "format": "Completions whose evidence grammar is well formed",
        },
        spreads={
            "tIoU_1": "When: temporal IoU, V-STaR chain 1",
            "vIoU_1": "Where: box IoU, V-STaR chain 1",
        },
        parts={"when": "tIoU_1", "where": "vIoU_1"},
        published=PublishedTable(
            title="As published, on the real V-STaR",
            caption="(2,094 questions, 7-8 billion parameters). Another benchmark and other models than "
            "above: compare the direction of the steps, not the values.",
            columns=("mAM", "mLGM"),
            rows=(
                ("Qwen2.5-VL-7B, the base", 19.3, 22.4),
                ("Open-o3 Video on Qwen2.5-VL-7B", 33.7, 46.6),
                ("Open-o3 Video on Qwen3-VL-8B", 35.5, 49.0),
            ),
            source="Open-o3 Video, arXiv 2510.20579; last row from its authors' release notes.",
        ),
    ),
)
