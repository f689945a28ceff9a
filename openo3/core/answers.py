"""Published answers in their one canonical form.

STGR-RL writes temporal answers as lists, STGR-SFT as sentences, and both write image boxes in pixels:

    temporal QA         "[1.0, 4.0]"           From <t>1.0</t>s to <t>4.0</t>s
    temporal QA (MCQ)   "C\n[12.0, 20.0]"      From <t>12.0</t>s to <t>20.0</t>s\nCorrect Option: C
    visual QA           <box>[12,30,48,66]</box> of [96, 96]      <box>[0.125,0.3125,0.5,0.6875]</box>
"""

from __future__ import annotations

import re

from openo3.core.evidence import convert_boxes, format_span, parse_boxes, parse_span
from openo3.core.geometry import NORMALISED, Span, pixels
from openo3.core.schema import Task

OPTION = "Correct Option:"
_LISTED = re.compile(r"\[\s*([0-9]{1,9}(?:\.[0-9]{0,20})?)\s*,\s*([0-9]{1,9}(?:\.[0-9]{0,20})?)\s*\]")


def canonical_answer(task: Task, answer: str, image_size: tuple[int, int] | None = None) -> str:
    """The answer of an STGR row, from either file, as canonical records hold it.

    `image_size` is the `(width, height)` in whose pixels the boxes of a visual-QA answer are.

    Raises:
        ValueError: the answer does not fit the task; the message says why.

    >>> canonical_answer(Task.TEMPORAL_MCQ, "C\\n[12.0, 20.0]")
    'From <t>12.0</t>s to <t>20.0</t>s\\nCorrect Option: C'
    """
    text = answer.strip()
    if not text:
        raise ValueError("is empty")
    if task is Task.TEMPORAL:
        return format_span(*_span(text))
    if task is Task.TEMPORAL_MCQ:
        option, span = _option_and_span(text)
        return f"{format_span(*span)}\n{OPTION} {option}"
    if task is Task.VISUAL:
        if not parse_boxes(text):
            raise ValueError("has no <box>[x1,y1,x2,y2]</box>")
        if image_size is None:
            raise ValueError("has boxes in pixels, but there is no image_size")
        return convert_boxes(text, pixels(image_size), NORMALISED)
    return text


def option_of(answer: str) -> str:
    """What stands after `Correct Option:` in a temporal answer with choice, empty if nothing does."""
    return [*answer.split(OPTION), ""][1].strip()


def _span(text: str) -> Span:
    listed = _LISTED.fullmatch(text)
    span = (float(listed[1]), float(listed[2])) if listed else parse_span(text)
    if span is None or span[0] > span[1]:
        raise ValueError("has no [start, end] or From <t>start</t>s to <t>end</t>s with start <= end")
    return span


def _option_and_span(text: str) -> tuple[str, Span]:
    head, _, rest = text.partition("\n")
    option, span_text = (option_of(text), head) if OPTION in text else (head.strip(), rest.strip())
    if not re.fullmatch("[A-Z]", option):
        raise ValueError("has no option: one capital letter")
    return option, _span(span_text)
