"""Which boxes an answer gives for which seconds."""

# ruff: noqa: RUF001 (full-width and other look-alike characters are what models write)

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from openo3.core.evidence import FAR_SECONDS, bounded_box, second_key
from openo3.core.geometry import NORMALISED, BoxSpace
from openo3.core.reading.final import final_answer
from openo3.core.reading.json_values import JsonObject, json_values
from openo3.core.reading.texts import SAME
from openo3.core.schema import Box

_SECOND_KEYS = frozenset(
    [
        "second",
        "seconds",
        "time",
        "timestamp",
        "t",
        "sec",
        "time_s",
        "timestamp_s",
        "frame_time",
        "秒",
        "时间",
    ]
)
_BOX_KEYS = frozenset(["bbox_2d", "bbox", "box", "boxes", "bboxes", "bbox2d", "bounding_box", "coordinates"])
_SIDE_KEYS = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("x_min", "y_min", "x_max", "y_max"),
)
_NUMBER = re.compile(
    r"\s{0,9}[-+]?(?:[0-9]{1,320}(?:\.[0-9]{0,320})?|\.[0-9]{1,320})(?:e[-+]?[0-9]{1,3})?\s{0,9}",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\[([^][]*)\]")
_KEY = re.compile(
    r"\s{0,3}(?:(?:at|second|seconds|sec|time|t|timestamp|第)[\s_]{0,3}[:=]?\s{0,3})?"
    r"(?:([0-9]{1,9}):)?(?:([0-9]{1,9}):)?([0-9]{1,9}(?:\.[0-9]{1,9})?)\s{0,3}(?:s|secs?\.?|seconds?|秒|초)?\s{0,3}",
    re.IGNORECASE,
)
_BOXES = r"(\[(?:[\s,]*\[[^][]*\])+|\[[^][]*\])"
_WHERE = re.compile(
    r"(?<![A-Za-z0-9_.:-])(?:([0-9]{1,9}):)?(?:([0-9]{1,9}):)?([0-9]{1,9}(?:\.[0-9]{1,9})?)"
    r"(?:\s{0,3}(?:s|secs?|seconds?|秒|초))?[\"']?\s{0,9}(?:[:：=|→]|[=-]>)\s{0,9}[\"']?" + _BOXES,
    re.IGNORECASE,
)
_TIME_THEN_BOX = re.compile(  # without a sign between them, a word or unit says that the number is a time
    r"(?<![A-Za-z0-9_.:-])(?:(?:at|second|time)\s{1,3}([0-9]{1,9}(?:\.[0-9]{1,9})?)"
    r"|([0-9]{1,9}(?:\.[0-9]{1,9})?)\s{0,3}(?:s|secs?|seconds?|秒|초))\s{0,9}" + _BOXES,
    re.IGNORECASE,
)
_BOX_THEN_TIME = re.compile(
    _BOXES
    + r"\s{0,9}(?:at|@)\s{0,3}(?:(?:second|time|t\s?=)\s{0,3})?([0-9]{1,9}(?:\.[0-9]{1,9})?)(?![.:]?[0-9])"
    r"(?!\s{0,3}(?:m|min|minutes?|%)\b)",
    re.IGNORECASE,
)
_POINT = r"\(([-+0-9.\s]{1,40},[-+0-9.\s]{1,40})\)"
_CORNERS = re.compile(rf"{_POINT}\s{{0,3}},?\s{{0,3}}{_POINT}")
_NO_TIME = re.compile(
    r"(?:box|bbox|object|obj|item|frame|image|picture|step|figure|person|no\.|#)\s{0,3}#?$", re.IGNORECASE
)
"""What a number follows that counts boxes or frames, not seconds."""
_SPECIAL = re.compile(r"<\|/?[a-z_]{1,20}\|>")
_CLAIM = re.compile(
    r"<obj>[^<]*</obj>((?:\s{0,4}<box>[^<]*</box>)+)\s{0,4}at\s{0,4}<t>\s{0,4}([0-9]{1,9}(?:\.[0-9]{0,9})?)\s{0,2}s?\s{0,4}</t>"
)
_BOX_TAG = re.compile(r"</?\s{0,4}(?:box|t)\s{0,4}>", re.IGNORECASE)
_ROUND = re.compile(r"\(([-+0-9.,\s]{7,200})\)")


def read_where(text: str, space: BoxSpace = NORMALISED) -> dict[str, list[Box]]:
    """Boxes by second of a where-answer, written in `space`; normalised.

    JSON is read as JSON: an object by second, or objects that name their second and box. Claims of the
    evidence grammar are read too. Of everything else, `SECOND: [x1,y1,x2,y2]` is read wherever it stands.

    >>> read_where('Here: ```{"3": [0,0,500,500], "4s": [[0,0,9', BoxSpace("relative_1000"))
    {'3': [(0.0, 0.0, 0.5, 0.5)]}
    """
    return where_by_rule(text, space)[0]


def where_by_rule(text: str, space: BoxSpace = NORMALISED) -> tuple[dict[str, list[Box]], str]:
    """Boxes by second of a where-answer and the rule that read them.

    Rules: `json`, `claims` (of the evidence grammar), `text` (any other form).
    """
    said = final_answer(text)
    pairs: list[tuple[float, list[Box]]] = []
    rule = "json"
    for value in json_values(said):
        pairs += _where_of_json(value, space)
    if not pairs:
        rule = "claims"
        for boxes, second in _CLAIM.findall(said):
            pairs.append((float(second), _boxes_of_text(boxes, space)))
    if not pairs:
        rule = "text"
        plain = said.translate(SAME).replace("**", "").replace("`", "")
        plain = _CORNERS.sub(r"[\1,\2]", _SPECIAL.sub("", plain))
        plain = _ROUND.sub(r"[\1]", _BOX_TAG.sub("", plain))
        for found in _WHERE.finditer(plain):
            *clock, boxes = found.groups()
            if not _NO_TIME.search(plain, max(found.start() - 12, 0), found.start()):
                pairs.append((_clock_s(*clock), _boxes_of_text(boxes, space)))
        for worded, united, boxes in [] if pairs else _TIME_THEN_BOX.findall(plain):
            pairs.append((float(worded or united), _boxes_of_text(boxes, space)))
        for boxes, second in [] if pairs else _BOX_THEN_TIME.findall(plain):
            pairs.append((float(second), _boxes_of_text(boxes, space)))
    where: dict[str, list[Box]] = {}
    for second, boxes in pairs:
        if boxes:
            where.setdefault(second_key(second), []).extend(boxes)
    return where, rule if where else ""


def _where_of_json(value: Any, space: BoxSpace) -> list[tuple[float, list[Box]]]:
    if not isinstance(value, JsonObject):
        return [pair for item in value if isinstance(item, list) for pair in _object_where(item, space)]
    return _object_where(value, space)


def _object_where(value: list, space: BoxSpace) -> list[tuple[float, list[Box]]]:
    if not isinstance(value, JsonObject):
        return []
    seconds = [item for key, item in value if key.lower() in _SECOND_KEYS]
    boxes = [item for key, item in value if key.lower() in _BOX_KEYS]
    if len(seconds) == len(boxes) == 1 and _is_list(seconds[0]) and _is_list(boxes[0]):
        if len(seconds[0]) != len(boxes[0]):
            return []
        pairs = ((_second(str(each)), box) for each, box in zip(seconds[0], boxes[0], strict=True))
        return [(second, _boxes(box, space, 4)) for second, box in pairs if second is not None]
    if len(seconds) == 1:
        second = _second(str(seconds[0]))
        named = boxes or [JsonObject(pair for pair in value if pair[0].lower() not in _SECOND_KEYS)]
        return [] if second is None else [(second, [b for item in named for b in _boxes(item, space, 4)])]
    found = [(second, _boxes(item, space, 4)) for key, item in value if (second := _second(key)) is not None]
    if not found and not boxes and len(value) <= 8:  # {"results": [{"second": 3, ...}]}
        inside = [item for _, item in value if isinstance(item, list)]
        return [pair for item in inside for pair in _where_of_json(item, space)] if len(inside) == 1 else []
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and not isinstance(value, JsonObject)


def _second(key: str) -> float | None:
    found = _KEY.fullmatch(key)
    return _clock_s(*found.groups()) if found else None


def _clock_s(hours: str | None, minutes: str | None, seconds: str) -> float:
    if hours and not minutes:
        hours, minutes = None, hours
    return min(int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds), FAR_SECONDS)


def _boxes(value: Any, space: BoxSpace, depth: int) -> list[Box]:
    """Every box of a JSON value."""
    if depth == 0:
        return []
    if isinstance(value, str):
        plain = _ROUND.sub(r"[\1]", _CORNERS.sub(r"[\1,\2]", value))
        return _boxes_of_text(plain if "[" in plain else f"[{plain}]", space)
    if isinstance(value, JsonObject):
        named = {str(key).lower(): item for key, item in value}
        for sides in _SIDE_KEYS:
            if all(side in named for side in sides):
                return _box([named[side] for side in sides], space)
        for width, height in (("width", "height"), ("w", "h")):
            if all(side in named for side in ("x", "y", width, height)):
                return _box_of_size([named[side] for side in ("x", "y", width, height)], space)
        return [
            box for key, item in named.items() if key in _BOX_KEYS for box in _boxes(item, space, depth - 1)
        ]
    if not isinstance(value, list):
        return []
    if len(value) == 4 and not any(isinstance(item, list) for item in value):
        return _box(value, space)
    corners = [
        isinstance(point, list) and len(point) == 2 and not isinstance(point, JsonObject) for point in value
    ]
    if len(corners) == 2 and all(corners):
        return _box([*value[0], *value[1]], space)
    return [box for item in value if isinstance(item, list) for box in _boxes(item, space, depth - 1)]


def _boxes_of_text(text: str, space: BoxSpace) -> list[Box]:
    found = (content.split(",") if "," in content else content.split() for content in _BRACKETS.findall(text))
    return [box for numbers in found for box in _box(numbers, space)]


def _box_of_size(numbers: Sequence[Any], space: BoxSpace) -> list[Box]:
    """One box of its corner and its size."""
    if not all(type(number) in (int, float) and abs(number) < 1e300 for number in numbers):
        return []
    x, y, width, height = numbers
    return _box([x, y, x + width, y + height], space)


def _box(numbers: Sequence[Any], space: BoxSpace) -> list[Box]:
    """One box of four numbers or texts of numbers, else none."""
    plain = all(
        _NUMBER.fullmatch(number)
        if isinstance(number, str)
        else type(number) in (int, float) and abs(number) < 1e300
        for number in numbers
    )
    if len(numbers) != 4 or not plain:
        return []
    return [bounded_box(numbers, space)]
