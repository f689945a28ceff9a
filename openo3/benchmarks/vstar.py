"""V-STaR: what, when and where, asked about one event in two orders.

A record (boxes in source pixels, times in seconds), and below the dots what `result` adds:

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
from pathlib import Path
from typing import Any

from openo3.benchmarks.vstar_scores import rate, score
from openo3.core import prompts
from openo3.core.evidence import parse_completion, read_times, read_where
from openo3.core.format_check import format_share
from openo3.core.geometry import BoxSpace, pixels
from openo3.core.schema import Box, Task
from openo3.files.artifacts import read_json

__all__ = ["load", "questions", "rate", "result", "score"]

Record = dict[str, Any]


def load(path: str | Path) -> list[Record]:
    """The records of `V_STaR_test.json`, or of its validated form."""
    return read_json(path)


def questions(record: Mapping[str, Any], space: BoxSpace) -> dict[str, str]:
    """The five prompts; the true boxes that `when_2` is told are in the model's `space`."""
    source = pixels((record["width"], record["height"]))
    boxes = [space.from_normalised(source.to_normalised(box)) for box in true_boxes(record)]
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
    answers = {"answer_vqa": parse_completion(said["what"]).said, "answer_vqa_raw_output": said["what"]}
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


def true_boxes(record: Mapping[str, Any]) -> list[Box]:
    """The annotated boxes in source pixels, one per annotated second."""
    return [(box["xmin"], box["ymin"], box["xmax"], box["ymax"]) for box in record["bboxes"]]


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
