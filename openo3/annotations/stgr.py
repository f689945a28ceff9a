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
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.sources import Reference, Source
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
    task, source = _task(raw), _source(raw)
    size = _image_size(raw)
    space = source.box_space(task, size)
    return Sample(
        id=rows.identifier(raw),
        task=task,
        source=rows.text(raw, "source"),
        question=rows.text(raw, "question"),
        answer=_answer(raw, task, space),
        media=_media(raw, task, source).media,
        size=size,
        key_frames=_key_frames(raw, source),
        key_items=_key_items(raw),
        reasoning=_reasoning(raw, space),
    )


def references(raw: Any) -> list[Reference]:
    """Every file that a record names: its media first, then the images of its key frames.

    Raises `RowError` if the record does not tell.
    """
    raw = rows.record(raw)
    task, source = _task(raw), _source(raw)
    media = _media(raw, task, source)
    return [media, *(_key_image(frame, source) for frame in _raw_key_frames(raw) if frame.get("path"))]


def _task(raw: Mapping[str, Any]) -> Task:
    name = rows.text(raw, "task")
    if name not in STGR_TASKS:
        raise RowError(Reason.UNKNOWN_TASK, "task", rows.shown(name))
    return Task(name)


def _source(raw: Mapping[str, Any]) -> Source:
    return sources.get(rows.text(raw, "source"))


def _media(raw: Mapping[str, Any], task: Task, source: Source) -> Reference:
    field, kind = ("image_path", "images") if task is Task.VISUAL else ("video_path", "videos")
    return sources.reference(source, kind, rows.text(raw, field), field)


def _image_size(raw: Mapping[str, Any]) -> tuple[int, int] | None:
    if not raw.get("image_size"):  # null or []: a video
        return None
    width, height = rows.numbers(raw["image_size"], "image_size", 2)
    if min(width, height) < 1:
        raise RowError(Reason.WRONG_TYPE, "image_size", f"expected pixels, found {width:g} x {height:g}")
    return rows.integer(width, "image_size"), rows.integer(height, "image_size")


def _answer(raw: Mapping[str, Any], task: Task, space: BoxSpace) -> str:
    answer = rows.text(raw, "answer")
    if not answer.strip():
        raise RowError(Reason.EMPTY_ANSWER, "answer")
    try:
        return canonical_answer(task, answer, space.size or (1, 1))  # pixels of a unit frame are normalised
    except ValueError as error:
        raise RowError(Reason.BAD_ANSWER, "answer", f"{rows.shown(answer)} {error}") from None


def _reasoning(raw: Mapping[str, Any], space: BoxSpace) -> str | None:
    if raw.get("reasoning_process") is None:
        return None
    return convert_boxes(rows.text(raw, "reasoning_process").strip(), space, NORMALISED)


def _raw_key_frames(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    frames = rows.listed(raw.get("key_frames"), "key_frames")
    return [rows.mapping(frame, "key_frames") for frame in frames]


def _key_image(frame: Mapping[str, Any], source: Source) -> Reference:
    return sources.reference(source, "key_frames", rows.text(frame, "path"), "key_frames.path")


def _key_frames(raw: Mapping[str, Any], source: Source) -> tuple[KeyFrame, ...]:
    return tuple(
        KeyFrame(
            idx=rows.integer(frame.get("idx"), "key_frames.idx"),
            time_s=rows.number(frame.get("time"), "key_frames.time"),
            path=_key_image(frame, source).media if frame.get("path") else None,
        )
        for frame in _raw_key_frames(raw)
    )


def _key_items(raw: Mapping[str, Any]) -> KeyItems:
    """Boxes by key frame and object name, normalised as they are in the file."""
    items: KeyItems = {}
    for key, objects in rows.mapping(raw.get("key_items"), "key_items").items():
        if not (key.isdecimal() and len(key) < 10):
            raise RowError(Reason.WRONG_TYPE, "key_items", f"expected an idx, found {rows.shown(key)}")
        if int(key) in items:
            raise RowError(
                Reason.WRONG_TYPE, "key_items", f"idx {int(key)} is given twice: {rows.shown(key)}"
            )
        items[int(key)] = {
            rows.check_text(name, "key_items"): _boxes(boxes)
            for name, boxes in rows.mapping(objects, "key_items").items()
        }
    return items


def _boxes(boxes: Any) -> tuple[Box, ...]:
    return tuple(rows.numbers(box, "key_items", 4) for box in rows.listed(boxes, "key_items"))
