"""The evidence grammar, read and written: the strict parser, which rewards use (`reading` is lenient).

    <think>The <obj>red circle</obj><box>[12,30,48,66]</box>at<t>2.5</t>s stops.</think>
    <answer>From <t>2.5</t>s to <t>4.0</t>s</answer>

A claim names an object, one or more consecutive boxes and, in videos, a time. Model text is untrusted:
every function here takes any string, needs time linear in its length, and returns what could be read,
possibly nothing, never an exception. What is not four plain numbers in brackets is no box (so `nan`,
`inf`, nested brackets and too few numbers are not), and what is no plain non-negative decimal is no time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from openo3.core.geometry import NORMALISED, BoxSpace, Span
from openo3.core.schema import Box

# Every quantifier is bounded or over a class without what follows it, so a failed match costs its own length.
_SECONDS = r"(?:[0-9]{1,320}(?:\.[0-9]{0,320})?|\.[0-9]{1,320})"  # the longest that a float tells apart
_NUMBER = re.compile(rf"\s*[-+]?{_SECONDS}(?:[eE][-+]?[0-9]{{1,3}})?\s*")
_BOX = re.compile(r"<box>\[([^][<>]*)\]</box>")
_TIME = re.compile(rf"<t>({_SECONDS})</t>s")
_SPAN = re.compile(rf"<t>({_SECONDS})</t>s to <t>({_SECONDS})</t>s")
CLAIM = re.compile(
    rf"<obj>([^<]*)</obj>((?:<box>[^<]*</box>)+)"
    rf"(?:\s{{0,4}}at\s{{0,4}}<t>\s{{0,4}}({_SECONDS})\s{{0,4}}</t>\s{{0,4}}s)?"
)
"""A claim as the model writes it: its name, boxes and, in videos, time."""

_CLAIM_OR_TIME = re.compile(f"{CLAIM.pattern}|{_TIME.pattern}")
_WHERE = re.compile(  # "3": [..] or "3": [[..], [..]]
    r"(?<![\w.:])([0-9]{1,9}(?:\.[0-9]{1,9})?) ?s?[\"']?\s*:\s*(\[(?:[\s,]*\[[^][]*\])+|\[[^][]*\])"
)
_BRACKETS = re.compile(r"\[([^][]*)\]")

_FAR_FRAMES = 1e6  # a coordinate beyond this many frame widths overlaps nothing; keeps arithmetic finite
FAR_SECONDS = 1e9
"""A time beyond this is read as this."""


@dataclass(frozen=True)
class Claim:
    """`name` is seen in `boxes` (normalised) at `time_s`; `None` where no time is given (images)."""

    name: str
    boxes: tuple[Box, ...]
    time_s: float | None = None


@dataclass(frozen=True)
class Completion:
    """A model's text with its first `<think>` and first `<answer>` block; `None` where there is none.

    The texts are as the model wrote them, in `space`; what the properties return is normalised.
    """

    text: str
    reasoning: str | None
    answer: str | None
    space: BoxSpace = NORMALISED

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of the reasoning."""
        return parse_claims(self.reasoning or "", self.space)

    @cached_property
    def times_s(self) -> tuple[float, ...]:
        """Every `<t>x</t>s` of the reasoning, those of claims included."""
        return tuple(_seconds(time) for time in _TIME.findall(self.reasoning or ""))

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """Every box of the reasoning, those of claims included."""
        return parse_boxes(self.reasoning or "", self.space)

    @cached_property
    def answer_boxes(self) -> tuple[Box, ...]:
        """Every box of the answer."""
        return parse_boxes(self.answer or "", self.space)

    @cached_property
    def answer_span(self) -> Span | None:
        """The answer's `<t>S</t>s to <t>E</t>s`."""
        return parse_span(self.answer or "")

    @property
    def said(self) -> str:
        """The answer, or the whole text of a model that does not use the blocks."""
        return self.text.strip() if self.answer is None else self.answer


def parse_completion(text: str, space: BoxSpace = NORMALISED) -> Completion:
    """Split a model's text into reasoning and answer; its boxes are understood in `space`.

    >>> parse_completion("<think>a <t>1.5</t>s</think><answer> b </answer>").times_s
    (1.5,)
    """
    answer = _block(text, "answer")
    return Completion(text, _block(text, "think"), None if answer is None else answer.strip(), space)


def parse_claims(text: str, space: BoxSpace = NORMALISED) -> tuple[Claim, ...]:
    """Every claim of a text that has at least one readable box; unreadable boxes are left out.

    >>> parse_claims("<obj>cup</obj><box>[500,0,1000,500]</box>at<t>2</t>s", BoxSpace("relative_1000"))
    (Claim(name='cup', boxes=((0.5, 0.0, 1.0, 0.5),), time_s=2.0),)
    """
    claims = []
    for name, boxes_text, time in CLAIM.findall(text):
        if boxes := parse_boxes(boxes_text, space):
            claims.append(Claim(name.strip(), boxes, _seconds(time) if time else None))
    return tuple(claims)


def split_evidence(text: str, space: BoxSpace = NORMALISED) -> Iterator[str | Claim | float]:
    """A text in order: claims, times in seconds outside claims, and the words between them as written.

    What cannot be read is part of the words.

    >>> list(split_evidence("It <obj>cup</obj><box>[0,0,1,1]</box> moves at <t>2</t>s"))
    ['It ', Claim(name='cup', boxes=((0.0, 0.0, 1.0, 1.0),), time_s=None), ' moves at ', 2.0]
    """
    begin = 0
    for found in _CLAIM_OR_TIME.finditer(text):
        piece = _seconds(found[4]) if found[4] else next(iter(parse_claims(found[0], space)), None)
        if piece is None:
            continue
        if begin < found.start():
            yield text[begin : found.start()]
        yield piece
        begin = found.end()
    if begin < len(text):
        yield text[begin:]


def parse_boxes(text: str, space: BoxSpace = NORMALISED) -> tuple[Box, ...]:
    """Every readable `<box>[x1,y1,x2,y2]</box>` of a text, normalised."""
    boxes = (_read_box(content, space) for content in _BOX.findall(text))
    return tuple(box for box in boxes if box is not None)


def parse_span(text: str) -> Span | None:
    """The first `<t>S</t>s to <t>E</t>s` of a text, `None` if there is none or it ends before it starts."""
    found = _SPAN.search(text)
    if not found:
        return None
    start, end = (_seconds(time) for time in found.groups())
    return (start, end) if start <= end else None


def read_where(text: str, space: BoxSpace = NORMALISED) -> dict[str, list[Box]]:
    """V-STaR's where-answers, `{"SECOND": [x1,y1,x2,y2]}` or a list of boxes per second, normalised.

    Read key by key rather than as one JSON value, so code fences, trailing text, single quotes, a list
    of objects and an answer cut off in the middle all give what is there.

    >>> read_where('Here: ```{"3": [0,0,500,500], "4s": [[0,0,9', BoxSpace("relative_1000"))
    {'3': [(0.0, 0.0, 0.5, 0.5)]}
    """
    where: dict[str, list[Box]] = {}
    for second, value in _WHERE.findall(parse_completion(text).said):
        boxes = [_read_box(content, space) for content in _BRACKETS.findall(value)]
        if readable := [box for box in boxes if box is not None]:
            where.setdefault(second_key(float(second)), []).extend(readable)
    return where


def second_key(second: float) -> str:
    """A second as a key of where-answers: `"3"` for 3 and 3.0, `"3.5"` for 3.5."""
    return str(int(second)) if second == int(second) else str(second)


def format_where(boxes: Mapping[float, Sequence[float]]) -> str:
    """A where-answer with a box a second; the boxes' numbers are written as they are.

    >>> format_where({3: (0, 0, 500, 500), 4.5: (10, 0, 510, 500)})
    '{"3": [0,0,500,500], "4.5": [10,0,510,500]}'
    """
    listed = (f'"{second_key(time)}": {bracketed(box)}' for time, box in boxes.items())
    return f"{{{', '.join(listed)}}}"


def convert_boxes(text: str, source: BoxSpace, target: BoxSpace) -> str:
    """Rewrite every readable `<box>[…]</box>` of a text from one coordinate space to another.

    >>> convert_boxes("a <box>[0.1,0.2,0.3,0.4]</box>", NORMALISED, BoxSpace("relative_1000"))
    'a <box>[100,200,300,400]</box>'
    """

    def rewrite(found: re.Match[str]) -> str:
        box = _read_box(found[1], source)
        return found[0] if box is None else format_box(target.from_normalised(box))

    return _BOX.sub(rewrite, text)


def format_box(box: Sequence[float]) -> str:
    """`<box>[x1,y1,x2,y2]</box>`, the numbers as they are, of at most 9 decimals."""
    return f"<box>{bracketed(box)}</box>"


def bracketed(box: Sequence[float]) -> str:
    """`[x1,y1,x2,y2]`, the numbers as in `format_box`."""
    return "[" + ",".join(map(_decimal, box)) + "]"


def format_claim(name: str, boxes: Sequence[Sequence[float]], time_s: float | None = None) -> str:
    """One claim; the boxes' numbers are written as they are.

    >>> format_claim("red cup", [(12, 30, 48, 66)], 2.5)
    '<obj>red cup</obj><box>[12,30,48,66]</box>at<t>2.5</t>s'
    """
    time = "" if time_s is None else f"at{format_time(time_s)}"
    return f"<obj>{name}</obj>{''.join(map(format_box, boxes))}{time}"


def format_time(time_s: float) -> str:
    """`<t>2.5</t>s`: at least one decimal, at most nine, so that a truth keeps its precision."""
    decimal = _decimal(time_s)
    return f"<t>{decimal if '.' in decimal else decimal + '.0'}</t>s"


def format_span(start_s: float, end_s: float) -> str:
    """A temporal answer.

    >>> format_span(1, 4.25)
    'From <t>1.0</t>s to <t>4.25</t>s'
    """
    return f"From {format_time(start_s)} to {format_time(end_s)}"


def format_completion(reasoning: str, answer: str) -> str:
    """The text that supervised training teaches."""
    return f"<think>{reasoning}</think><answer>{answer}</answer>"


def _block(text: str, tag: str) -> str | None:
    """What stands between the first `<tag>` and the `</tag>` that follows it."""
    start = text.find(f"<{tag}>")
    end = text.find(f"</{tag}>", start) if start >= 0 else -1
    return text[start + len(tag) + 2 : end] if end >= 0 else None


def _read_box(content: str, space: BoxSpace) -> Box | None:
    """`x1,y1,x2,y2` in `space` as a normalised box, `None` unless it is exactly four numbers."""
    if content.count(",") != 3:
        return None
    numbers = content.split(",")
    if not all(_NUMBER.fullmatch(number) for number in numbers):
        return None
    return bounded_box(numbers, space)


def bounded_box(numbers: Sequence[str | float], space: BoxSpace) -> Box:
    """Four numbers, or texts of numbers, in `space` as a normalised box with finite coordinates."""
    x1, y1, x2, y2 = map(float, numbers)
    box = space.to_normalised((x1, y1, x2, y2))
    x1, y1, x2, y2 = (min(max(value, -_FAR_FRAMES), _FAR_FRAMES) for value in box)
    return x1, y1, x2, y2


def _seconds(digits: str) -> float:
    return min(float(digits), FAR_SECONDS)


def _decimal(value: float) -> str:
    """A number without exponent, of at most 9 decimals."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
