"""What is measured of a row, so that the rules of `openo3.validation` can be checked over columns.

    span_facts("answer", (2.0, 6.0)) -> {"answer.start_s": 2.0, "answer.end_s": 6.0, "answer.length_s": 4.0}

A fact is named after the field it is about. It is a number, or a text that says what is wrong, and `None`
where it does not apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from openo3.core.schema import Box

Facts = dict[str, Any]


def span_facts(field: str, span: Sequence[float] | None) -> Facts:
    """Start, end and length of a span, in seconds."""
    start, end = span or (None, None)
    length = end - start if span else None
    return {f"{field}.start_s": start, f"{field}.end_s": end, f"{field}.length_s": length}


def box_facts(field: str, boxes: Iterable[Box]) -> Facts:
    """Over normalised boxes: lowest and highest coordinate, shortest side (negative where inverted)."""
    boxes = list(boxes)
    if not boxes:
        return {f"{field}.low": None, f"{field}.high": None, f"{field}.side": None}
    return {
        f"{field}.low": min(map(min, boxes)),
        f"{field}.high": max(map(max, boxes)),
        f"{field}.side": min(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes),
    }
