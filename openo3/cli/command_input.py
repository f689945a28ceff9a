"""What the commands read: every row and field is checked before anything is printed.

A row of `openo3 rewards`, one a line:

    {"id": "q1", "task": "temporal-spatial free-form QA", "answer": "a red cup", "progress": 0.5,
     "key_frames": [{"idx": 1, "time": 2.5}], "key_items": {"1": {"cup": [[0.1, 0.2, 0.3, 0.4]]}},
     "image_size": null, "frame_size": [448, 252], "completion": "<think>..."}

Answers are as the STGR files have them (`"C\\n[12.0, 20.0]"`, image boxes in pixels of `image_size`).
`openo3 score vstar` reads the list of records that `openo3.benchmarks.vstar` describes; what a record does
not answer may be null, empty or absent, but a file in which no record answers anything is a mistake.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from openo3.annotations import rows
from openo3.annotations.rejections import Reason, RowError
from openo3.cli.errors import InputError
from openo3.core.answers import canonical_answer
from openo3.core.evidence import Completion, parse_completion
from openo3.core.geometry import NORMALISED, RELATIVE_1000, BoxSpace, pixels
from openo3.core.schema import STGR_TASKS, Box, KeyFrame, Sample, Task

BOXED = (Task.TEMPORAL_SPATIAL, Task.VISUAL)
"""The tasks whose rewards look at the completion's boxes."""

_CHAINS = ("", "_2")
_ANSWERS = ("answer_vqa", "answer_temporal", "answer_temporal_pre", "answer_spatial")
_FAR = 2.0  # frame widths; truth beyond it is not normalised


class Scorable(NamedTuple):
    """One row of `openo3 rewards`: its id as it stands there, and what the rewards take."""

    id: str | int
    sample: Sample
    completion: Completion
    progress: float


def read_reward_rows(path: str, box_space: str) -> list[Scorable]:
    """All rows of a JSON Lines file; blank lines are passed over. `path` may be `-`, standard input.

    Raises `InputError` for the first row that cannot be scored.
    """
    lines = enumerate(_read(path).split(b"\n"), start=1)
    numbered = ((number, _json(path, number, line)) for number, line in lines if line.strip())
    return [_checked(path, number, raw, lambda raw: _scorable(raw, box_space)) for number, raw in numbered]


def read_vstar_results(path: str) -> list[dict[str, Any]]:
    """All records of a results file, at least one. `path` may be `-`, standard input.

    Raises `InputError` for the first record that cannot be scored.
    """
    records = _json(path, None, _read(path))
    if not isinstance(records, list) or not records:
        raise InputError(f"{path}: expected a list of records, found {rows.shown(records)}")
    checked = [_checked(path, number, raw, _vstar_record) for number, raw in enumerate(records, start=1)]
    fields = [field + suffix for field in _ANSWERS for suffix in _CHAINS]
    if not any(field in record for record in checked for field in fields):
        raise InputError(f"{path}: row 1: answer_vqa: no record has an answer; are these results?")
    return checked


def _read(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _json(path: str, number: int | None, text: bytes) -> Any:
    where = path if number is None else f"{path}: row {number}"
    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text at byte {error.start}") from None
    except (ValueError, RecursionError) as error:  # malformed, a number of 5,000 digits, 100,000 brackets
        raise InputError(f"{where}: not JSON: {error}") from None


def _checked(path: str, number: int, raw: Any, parse: Any) -> Any:
    try:
        for field in _not_finite(raw):
            raise RowError(Reason.NOT_FINITE, field)
        return parse(rows.record(raw))
    except RowError as error:
        raise InputError(f"{path}: row {number}: {error}") from None


def _not_finite(row: Any) -> Iterator[str]:
    """The paths of NaN and infinities, which are no JSON but which Python reads and writes."""
    open_ = [("row", row)]
    while open_:
        path, value = open_.pop()
        if isinstance(value, float) and not math.isfinite(value):
            yield path
        elif isinstance(value, dict):
            open_ += [(f"{path}.{name}" if path != "row" else name, item) for name, item in value.items()]
        elif isinstance(value, list):
            open_ += [(f"{path}[{index}]", item) for index, item in enumerate(value)]


def _scorable(raw: Mapping[str, Any], box_space: str) -> Scorable:
    rows.identifier(raw)
    task = _task(raw)
    progress = rows.number(raw.get("progress"), "progress")
    if not 0 <= progress <= 1:
        raise RowError(Reason.WRONG_TYPE, "progress", f"expected 0 to 1, found {progress:g}")
    key_frames = _key_frames(raw)
    sample = Sample(
        id=str(raw["id"]),
        task=task,
        source="",
        question="",
        answer=_answer(raw, task),
        media="",
        key_frames=key_frames,
        key_items=_key_items(raw, {frame.idx for frame in key_frames}),
    )
    if task is Task.TEMPORAL_SPATIAL and not key_frames:
        raise RowError(Reason.NO_KEY_FRAMES, "key_frames")
    completion = parse_completion(_text(raw, "completion"), _space(raw, task, box_space))
    return Scorable(raw["id"], sample, completion, progress)


def _task(raw: Mapping[str, Any]) -> Task:
    name = rows.text(raw, "task")
    if name not in STGR_TASKS:
        raise RowError(Reason.UNKNOWN_TASK, "task", rows.shown(name))
    return Task(name)


def _answer(raw: Mapping[str, Any], task: Task) -> str:
    answer = rows.text(raw, "answer")
    size = _size(raw, "image_size", required=task is Task.VISUAL)
    try:
        return canonical_answer(task, answer, size)
    except ValueError as error:
        raise RowError(Reason.BAD_ANSWER, "answer", f"{rows.shown(answer)} {error}") from None


def _space(raw: Mapping[str, Any], task: Task, box_space: str) -> BoxSpace:
    size = _size(raw, "frame_size", required=box_space == "pixels" and task in BOXED)
    if box_space in ("relative_1000", "permille"):  # the latter is the former's old name
        return RELATIVE_1000
    return pixels(size) if size else NORMALISED


def _size(raw: Mapping[str, Any], field: str, *, required: bool) -> tuple[int, int] | None:
    """`(width, height)`, `None` where the row has none and needs none."""
    if raw.get(field) is None:
        if required:
            raise RowError(Reason.FIELD_MISSING, field)
        return None
    width, height = (rows.integer(side, field) for side in rows.numbers(raw[field], field, 2))
    if min(width, height) < 1:
        raise RowError(Reason.WRONG_TYPE, field, f"expected pixels, found {width} x {height}")
    return width, height


def _text(raw: Mapping[str, Any], field: str) -> str:
    """Text of any length, which may be empty: what a model wrote."""
    value = raw.get(field)
    if value is None:
        raise RowError(Reason.FIELD_MISSING, field)
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, field, f"expected text, found {rows.shown(value)}")
    return value


def _key_frames(raw: Mapping[str, Any]) -> tuple[KeyFrame, ...]:
    frames = []
    for index, frame in enumerate(rows.listed(raw.get("key_frames"), "key_frames")):
        field = f"key_frames[{index}]"
        frame = rows.mapping(frame, field)
        idx = rows.integer(frame.get("idx"), f"{field}.idx")
        frames.append(KeyFrame(idx, rows.number(frame.get("time"), f"{field}.time")))
    return tuple(frames)


def _key_items(raw: Mapping[str, Any], known: set[int]) -> dict[int, dict[str, tuple[Box, ...]]]:
    items = {}
    for key, objects in rows.mapping(raw.get("key_items"), "key_items").items():
        field = f"key_items.{rows.shown(key)}"
        if not (key.isdecimal() and len(key) < 10 and int(key) in known):
            raise RowError(Reason.KEY_UNKNOWN, field, f"key_frames have idx {rows.shown(sorted(known))}")
        items[int(key)] = {
            name: tuple(_true_box(box, f"{field}.{rows.shown(name)}") for box in rows.listed(boxes, field))
            for name, boxes in rows.mapping(objects, field).items()
        }
    return items


def _true_box(value: Any, field: str) -> Box:
    box = rows.numbers(value, field, 4)
    if not all(1 - _FAR <= side <= _FAR for side in box):
        raise RowError(Reason.BOX_SPACE, field, f"expected 0-1 of the frame, found {rows.shown(value)}")
    return box


def _vstar_record(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The record, whose truth is complete and whose answers have the types that they should."""
    for field in ("question", "answer"):
        rows.text(raw, field)
    if raw.get("domain") is not None:
        rows.text(raw, "domain")
    if rows.number(raw.get("fps"), "fps") <= 0 or rows.number(raw.get("frame_count"), "frame_count") < 0:
        raise RowError(Reason.WRONG_TYPE, "fps", "expected fps above 0 and frame_count from 0")
    start, end = rows.numbers(raw.get("timestamps"), "timestamps", 2)
    if start > end:
        raise RowError(Reason.SPAN_EMPTY, "timestamps", rows.shown(raw["timestamps"]))
    if raw.get("bboxes") is None:
        raise RowError(Reason.FIELD_MISSING, "bboxes")
    for index, box in enumerate(rows.listed(raw["bboxes"], "bboxes")):
        field = f"bboxes[{index}]"
        for name in ("timestamp", "xmin", "ymin", "xmax", "ymax"):
            rows.number(rows.mapping(box, field).get(name), f"{field}.{name}")
    _vstar_answers(raw)
    return dict(raw)


def _vstar_answers(raw: Mapping[str, Any]) -> None:
    """Types alone: what a model wrote inside them may be anything."""
    types = {"answer_vqa": (str,), "VQA_score": (int,)}
    for suffix in _CHAINS:
        types[f"answer_temporal{suffix}"] = (list, str)
        types[f"answer_temporal_pre{suffix}"] = (str,)
        types[f"answer_spatial{suffix}"] = (dict, list)
    for field, allowed in types.items():
        value = raw.get(field)
        if value is not None and (not isinstance(value, allowed) or isinstance(value, bool)):
            expected = " or ".join(kind.__name__ for kind in allowed)
            raise RowError(Reason.WRONG_TYPE, field, f"expected {expected}, found {rows.shown(value)}")
    if raw.get("VQA_score") not in (None, -1, 0, 1, 2, 3):
        raise RowError(Reason.WRONG_TYPE, "VQA_score", f"expected -1 to 3, found {raw['VQA_score']}")
