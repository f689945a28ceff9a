"""Records of the two benchmark files, checked and given the place of their media.

`V_STaR_test.json`, of which a record says what, when and where:

    {"vid": "6KpQe3yb", "domain": "Daily life", "fps": 30.0, "frame_count": 912, "width": 1280, "height": 720,
     "question": "What does she open?", "answer": "a fridge", "object": "fridge",
     "temporal_question": "When does she open it?", "timestamps": [3.0, 6.0],
     "spatial_question": "Where is the fridge?", "spatial_question_2": "Where is the thing she opens?",
     "bboxes": [{"timestamp": 3, "frame_index": 90, "xmin": 12, "ymin": 30, "xmax": 480, "ymax": 700}, ...]}

`TVGBench.json`, of which a record says when:

    {"path": "charades/X1.mp4", "question": "person opens the fridge", "answer": "13.4-28.1",
     "duration": 30.5, "qsemtype": "action", "dataset_name": "charades_sta"}

Boxes are source pixels of `width` x `height`, times seconds. A checked record is the file's own with
`media` added, relative to `data/raw/media`; `validate` adds `duration_s`.
"""

from __future__ import annotations

import re
from typing import Any

from openo3.annotations import rows, sources
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.sources import Reference
from openo3.core.schema import Box

_VSTAR_TEXTS = (
    "question",
    "answer",
    "temporal_question",
    "spatial_question",
    "spatial_question_2",
)
_BOX_SIDES = ("xmin", "ymin", "xmax", "ymax")
_SPAN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*-\s*([0-9]+(?:\.[0-9]+)?)\s*")


def vstar_references(raw: Any) -> list[Reference]:
    name = rows.identifier(rows.record(raw), "vid")
    return [sources.reference(sources.get("vstar"), "videos", f"{name}.mp4", "vid")]


def tvgbench_references(raw: Any) -> list[Reference]:
    path = rows.text(rows.record(raw), "path")
    return [sources.reference(sources.get("tvgbench"), "videos", path, "path")]


def parse_vstar(raw: Any) -> dict[str, Any]:
    """The record with its `media`.

    Raises `RowError` if a field that the five questions or the score need is absent or of a wrong type.
    """
    [video] = vstar_references(raw)
    for field in _VSTAR_TEXTS:
        rows.text(raw, field)
    for field in ("domain", "object"):
        if raw.get(field) is not None:
            rows.text(raw, field)
    for field in ("width", "height", "fps", "frame_count"):
        if rows.number(raw.get(field), field) <= 0:
            raise RowError(Reason.WRONG_TYPE, field, f"expected more than 0, found {rows.shown(raw[field])}")
    vstar_span(raw)
    vstar_boxes(raw)
    return {**raw, "media": video.media}


def vstar_span(raw: dict[str, Any]) -> tuple[float, float]:
    """`(start_s, end_s)`."""
    return rows.numbers(raw.get("timestamps"), "timestamps", 2)


def vstar_boxes(raw: dict[str, Any]) -> list[tuple[float, Box]]:
    """Every `(second, box normalised 0-1)`."""
    width, height = raw["width"], raw["height"]
    boxes = []
    for item in rows.listed(raw.get("bboxes"), "bboxes"):
        item = rows.mapping(item, "bboxes")
        second = rows.number(item.get("timestamp"), "bboxes.timestamp")
        x1, y1, x2, y2 = (rows.number(item.get(side), f"bboxes.{side}") for side in _BOX_SIDES)
        boxes.append((second, (x1 / width, y1 / height, x2 / width, y2 / height)))
    return boxes


def parse_tvgbench(raw: Any) -> dict[str, Any]:
    """The record with its `media`.

    Raises `RowError` if a field is absent or of a wrong type, or the answer is no `start-end`.
    """
    [video] = tvgbench_references(raw)
    rows.text(raw, "question")
    tvgbench_span(raw)
    return {**raw, "media": video.media}


def tvgbench_span(raw: dict[str, Any]) -> tuple[float, float]:
    """`(start_s, end_s)` of the answer."""
    answer = rows.text(raw, "answer")
    if not (found := _SPAN.fullmatch(answer)):
        raise RowError(Reason.BAD_ANSWER, "answer", f'expected "13.4-28.1", found {rows.shown(answer)}')
    return float(found[1]), float(found[2])
