"""Read the input of the commands. Every row and field is checked before anything is printed.

A row of `openo3 rewards`, one a line:

    {"id": "q1", "task": "temporal-spatial free-form QA", "answer": "a red cup", "progress": 0.5,
     "key_frames": [{"idx": 1, "time": 2.5}], "key_items": {"1": {"cup": [[0.1, 0.2, 0.3, 0.4]]}},
     "image_size": null, "frame_size": [448, 252], "completion": "<think>..."}

Answers are as the STGR files have them (`"C\\n[12.0, 20.0]"`, image boxes in pixels of `image_size`).
`openo3 score` reads a benchmark's records with raw completions, as `openo3.cli.score` describes, or with
answers that were read before. What a record does not answer may be null, empty or absent, but a file in
which no record answers anything is a mistake.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from openo3.annotations import rows, stgr
from openo3.annotations.catalogue.table import Source
from openo3.annotations.rejections import Reason, RowError
from openo3.benchmarks.base import Benchmark, Record
from openo3.cli.errors import InputError
from openo3.core.evidence import Completion, parse_completion
from openo3.core.geometry import NORMALISED, RELATIVE_1000, BoxSpace, pixels
from openo3.core.schema import Sample, Task
from openo3.prompt_file import default_prompts

BOXED = (Task.TEMPORAL_SPATIAL, Task.VISUAL)
"""The tasks whose rewards look at the completion's boxes."""

_DEEPEST = 50
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


def read_results(path: str, benchmark: Benchmark) -> list[Record]:
    """All records of a results file with their answers, at least one. `path` may be `-`, standard input.

    Raises `InputError` for the first record that cannot be scored.
    """
    numbered = _records(path)
    if any(isinstance(raw, dict) and "completions" in raw for _, raw in numbered) or not benchmark.answered:
        results = [
            _checked(path, number, raw, lambda raw: _result(_read_before(raw), benchmark))
            for number, raw in numbered
        ]
        if not any(raw.get("completions") for _, raw in numbered):
            raise InputError(f"{path}: row 1: completions: no record has any; are these results?")
        return results
    answered = benchmark.answered
    results = [
        _checked(path, number, raw, lambda raw: answered(_read_before(raw))) for number, raw in numbered
    ]
    for (number, _), video in zip(numbered, benchmark.scoring.videos(results), strict=True):
        if isinstance(video, list | dict):  # records are grouped by it
            raise InputError(
                f"{path}: row {number}: expected the name of its video, found {rows.shown(video)}"
            )
    if not any(field in record for record in results for field in benchmark.answers):
        field = benchmark.answers[0]
        raise InputError(f"{path}: row 1: {field}: no record has an answer; are these results?")
    return results


def _records(path: str) -> list[tuple[int, Any]]:
    """The numbered records of a JSON list or of JSON Lines, unchecked."""
    text = _read(path)
    if text.lstrip().startswith(b"{") and len(lines := text.strip().splitlines()) > 1:
        return [(number, _json(path, number, line)) for number, line in enumerate(lines, 1) if line.strip()]
    records = _json(path, None, text)
    if isinstance(records, dict) and "completions" in records:
        records = [records]
    if not isinstance(records, list) or not records:
        raise InputError(f"{path}: expected a list of records, found {rows.shown(records)}")
    return list(enumerate(records, start=1))


def _result(raw: Mapping[str, Any], benchmark: Benchmark) -> Record:
    """The record with the answers of its completions."""
    record = (benchmark.check or benchmark.parse)(raw) if "media" in raw else benchmark.parse(raw)
    space = _stated_space(rows.mapping(raw.get("box_space"), "box_space"))
    kinds = benchmark.questions(record, space, default_prompts())
    completions = {}
    for kind, text in rows.mapping(raw.get("completions"), "completions").items():
        if kind not in kinds:
            known = ", ".join(kinds)
            raise RowError(
                Reason.WRONG_TYPE, "completions", f"unknown kind {rows.shown(kind)}; there are {known}"
            )
        if text is not None and not isinstance(text, str):
            raise RowError(
                Reason.WRONG_TYPE, f"completions.{kind}", f"expected text, found {rows.shown(text)}"
            )
        completions[kind] = text or ""
    return benchmark.result(record, completions, space)


def _read_before(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record with its field `read`, if it has one, in the form that the benchmarks give it."""
    if "read" not in raw:
        return raw
    read = rows.mapping(raw["read"], "read")
    for kind, rule in read.items():
        if rule is not None and not isinstance(rule, str):
            raise RowError(Reason.WRONG_TYPE, f"read.{kind}", f"expected text, found {rows.shown(rule)}")
    return {**raw, "read": read}


def _stated_space(stated: Mapping[str, Any]) -> BoxSpace:
    if not stated:
        return RELATIVE_1000
    match rows.text(stated, "kind"):
        case "relative_1000":
            return RELATIVE_1000
        case "normalised":
            return NORMALISED
        case "pixels":
            return pixels(rows.size(stated.get("size"), "box_space.size"))
    expected = f"expected pixels, relative_1000 or normalised, found {rows.shown(stated['kind'])}"
    raise RowError(Reason.WRONG_TYPE, "box_space.kind", expected)


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
    """The paths of NaN and infinities, which are not valid JSON but which Python reads and writes.

    Raises `RowError` for a row that is nested too deeply to be written again.
    """
    open_ = [("row", row, 0)]
    while open_:
        path, value, depth = open_.pop()
        if depth > _DEEPEST:
            raise RowError(Reason.WRONG_TYPE, path[:40], f"more than {_DEEPEST} levels of lists and objects")
        if isinstance(value, float) and not math.isfinite(value):
            yield path
        elif isinstance(value, dict):
            inner = ((f"{path}.{name}" if path != "row" else name, item) for name, item in value.items())
            open_ += [(name, item, depth + 1) for name, item in inner]
        elif isinstance(value, list):
            open_ += [(f"{path}[{index}]", item, depth + 1) for index, item in enumerate(value)]


def _scorable(raw: Mapping[str, Any], box_space: str) -> Scorable:
    rows.identifier(raw)
    task = stgr.task(raw)
    progress = rows.number(raw.get("progress"), "progress")
    if not 0 <= progress <= 1:
        raise RowError(Reason.WRONG_TYPE, "progress", f"expected 0 to 1, found {progress:g}")
    key_frames = stgr.key_frames(raw)
    sample = Sample(
        id=str(raw["id"]),
        task=task,
        source="",
        question="",
        answer=stgr.answer(raw, task, Source().box_space(task, stgr.image_size(raw))),
        media="",
        key_frames=key_frames,
        key_items=_key_items(raw, {frame.idx for frame in key_frames}),
    )
    if task is Task.TEMPORAL_SPATIAL and not key_frames:
        raise RowError(Reason.NO_KEY_FRAMES, "key_frames")
    completion = parse_completion(_text(raw, "completion"), _space(raw, task, box_space))
    return Scorable(raw["id"], sample, completion, progress)


def _space(raw: Mapping[str, Any], task: Task, box_space: str) -> BoxSpace:
    size = None if raw.get("frame_size") is None else rows.size(raw["frame_size"], "frame_size")
    if box_space in ("relative_1000", "permille"):  # the latter is the former's old name
        return RELATIVE_1000
    if size is None and task in BOXED:
        raise RowError(Reason.FIELD_MISSING, "frame_size")
    return pixels(size) if size else NORMALISED


def _text(raw: Mapping[str, Any], field: str) -> str:
    """Text of any length, which may be empty: what a model wrote."""
    value = raw.get(field)
    if value is None:
        raise RowError(Reason.FIELD_MISSING, field)
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, field, f"expected text, found {rows.shown(value)}")
    return value


def _key_items(raw: Mapping[str, Any], known: set[int]) -> stgr.KeyItems:
    """The row's key items, which must be about its key frames and normalised."""
    items = stgr.key_items(raw)
    for idx, objects in items.items():
        field = f'key_items."{idx}"'
        if idx not in known:
            raise RowError(Reason.KEY_UNKNOWN, field, f"key_frames have idx {rows.shown(sorted(known))}")
        for name, boxes in objects.items():
            for box in boxes:
                if not all(1 - _FAR <= side <= _FAR for side in box):
                    expected = f"expected 0-1 of the frame, found {rows.shown(list(box))}"
                    raise RowError(Reason.BOX_SPACE, f"{field}.{rows.shown(name)}", expected)
    return items
