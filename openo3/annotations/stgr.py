"""The published STGR files, `STGR-SFT.json` and `STGR-RL.json`: one record -> one canonical `Sample`.

A record of STGR-SFT.json:

    {"id": "coin_0012", "task": "temporal-spatial free-form QA", "source": "STR_coin",
     "question": "What does the man pick up?", "answer": "a wrench",
     "video_path": "4jujhM5qhEc_00:00:39:000_00:01:24:700.mp4", "image_size": null,
     "key_frames": [{"idx": 1, "time": 2.5, "path": "coin_0012/1.jpg"}],
     "key_items": {"1": {"wrench": [[0.12, 0.3, 0.34, 0.61]]}},
     "reasoning_process": "The <obj>wrench</obj><box>[0.12,0.3,0.34,0.61]</box>at<t>2.5</t>s ..."}

STGR-RL.json has no `reasoning_process`, and its temporal answers are written `"[1.0, 4.0]"` and
`"C\\n[12.0, 20.0]"`. Records about images have `image_path` and the `image_size` [W, H], in whose pixels the
boxes of their texts are. What a task does not need may be null, empty or absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openo3.annotations import rows, sources
from openo3.annotations.catalogue.table import Source
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.sources import Reference
from openo3.core.answers import canonical_answer
from openo3.core.evidence import convert_boxes
from openo3.core.geometry import NORMALISED, BoxSpace
from openo3.core.schema import STGR_TASKS, Box, KeyFrame, Sample, Task

KeyItems = dict[int, dict[str, tuple[Box, ...]]]


def parse(raw: Any) -> Sample:
    """The canonical form of one record; length and size of a video are not known yet.

    Raises `RowError` if a field has the wrong type, or a text, path or answer cannot be understood. That
    the values make sense (a box inside its frame, a key frame inside its video) is for `openo3.validation`.
    """
    raw = rows.record(raw)
    asked, source = task(raw), _source(raw)
    size = image_size(raw)
    space = source.box_space(asked, size)
    return Sample(
        id=rows.identifier(raw),
        task=asked,
        source=rows.text(raw, "source"),
        question=rows.text(raw, "question"),
        answer=answer(raw, asked, space),
        media=_media(raw, asked, source).media,
        size=size,
        key_frames=key_frames(raw, source),
        key_items=key_items(raw),
        reasoning=_reasoning(raw, space),
    )


def references(raw: Any) -> list[Reference]:
    """Every file that a record names: its media first, then the images of its key frames.

    Raises `RowError` if the record does not tell.
    """
    raw = rows.record(raw)
    source = _source(raw)
    media = _media(raw, task(raw), source)
    return [media, *(_key_image(frame, source) for frame in _raw_key_frames(raw) if frame.get("path"))]


def task(raw: Mapping[str, Any]) -> Task:
    """What the row asks for. Raises `RowError` for none of `STGR_TASKS`."""
    name = rows.text(raw, "task")
    if name not in STGR_TASKS:
        raise RowError(Reason.UNKNOWN_TASK, "task", rows.shown(name))
    return Task(name)


def image_size(raw: Mapping[str, Any]) -> tuple[int, int] | None:
    """`(width, height)`, `None` for a video. Raises `RowError` for what are no whole pixels."""
    value = raw.get("image_size")
    return rows.size(value, "image_size") if value else None


def answer(raw: Mapping[str, Any], task: Task, space: BoxSpace) -> str:
    """The answer as canonical records hold it, from boxes in `space`.

    Raises `RowError` if it is empty or does not fit the task.
    """
    text = rows.text(raw, "answer")
    if not text.strip():
        raise RowError(Reason.EMPTY_ANSWER, "answer")
    try:
        return canonical_answer(task, text, space.size or (1, 1))  # pixels of a unit frame are normalised
    except ValueError as error:
        raise RowError(Reason.BAD_ANSWER, "answer", f"{rows.shown(text)} {error}") from None


def key_frames(raw: Mapping[str, Any], source: Source | None = None) -> tuple[KeyFrame, ...]:
    """The annotated moments, with their images if the row's `source` is given.

    Raises `RowError` if one has no idx or time, or an image that cannot be had.
    """
    return tuple(
        KeyFrame(
            idx=rows.integer(frame.get("idx"), f"key_frames[{number}].idx"),
            time_s=rows.number(frame.get("time"), f"key_frames[{number}].time"),
            path=_key_image(frame, source).media if source and frame.get("path") else None,
        )
        for number, frame in enumerate(_raw_key_frames(raw))
    )


def key_items(raw: Mapping[str, Any]) -> KeyItems:
    """Boxes by key frame and object name, normalised as they are in the file.

    Raises `RowError` if a key is no whole number, given twice, or a box is not four numbers.
    """
    items: KeyItems = {}
    for key, objects in rows.mapping(raw.get("key_items"), "key_items").items():
        field = f"key_items.{rows.shown(key)}"
        if not (key.isdecimal() and len(key) < 10):
            raise RowError(Reason.WRONG_TYPE, field, "expected the idx of a key frame")
        if int(key) in items:
            raise RowError(Reason.WRONG_TYPE, field, f"idx {int(key)} is given twice")
        items[int(key)] = {
            rows.check_text(name, field): _boxes(boxes, f"{field}.{rows.shown(name)}")
            for name, boxes in rows.mapping(objects, field).items()
        }
    return items


def _source(raw: Mapping[str, Any]) -> Source:
    return sources.get(rows.text(raw, "source"))


def _media(raw: Mapping[str, Any], task: Task, source: Source) -> Reference:
    field, kind = ("image_path", "images") if task is Task.VISUAL else ("video_path", "videos")
    return sources.reference(source, kind, rows.text(raw, field), field)


def _reasoning(raw: Mapping[str, Any], space: BoxSpace) -> str | None:
    if raw.get("reasoning_process") is None:
        return None
    return convert_boxes(rows.text(raw, "reasoning_process").strip(), space, NORMALISED)


def _raw_key_frames(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    frames = rows.listed(raw.get("key_frames"), "key_frames")
    return [rows.mapping(frame, f"key_frames[{number}]") for number, frame in enumerate(frames)]


def _key_image(frame: Mapping[str, Any], source: Source) -> Reference:
    return sources.reference(source, "key_frames", rows.text(frame, "path"), "key_frames.path")


def _boxes(boxes: Any, field: str) -> tuple[Box, ...]:
    return tuple(rows.numbers(box, field, 4) for box in rows.listed(boxes, field))
