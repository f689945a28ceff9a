"""Facts about a readable STGR row, over which rules are checked as columns.

    facts.of_sample(sample, supervised=True) ->
        {"question.chars": 24, "key_frames.first_s": 2.5, "key_items.low": 0.12, "answer.option": None, ...}

A fact is named after the field it is about. It is a number, or a text that says what is wrong, and `None`
where it does not apply. The rules are in `openo3.validation.suites`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

from openo3.benchmarks.base import Facts
from openo3.core.answers import option_of
from openo3.core.evidence import parse_boxes, parse_completion, parse_span
from openo3.core.schema import Box, KeyFrame, Sample, Task

UNGROUNDED = "reasoning_process.ungrounded"
"""The fact that reasoning which should cite evidence cites neither a time nor a box: a warning."""

_GROUNDED = (Task.TEMPORAL_SPATIAL, Task.TEMPORAL, Task.TEMPORAL_MCQ, Task.VISUAL)
_OPTION = re.compile(r"^\s*\(?([A-Z])[.):]", re.MULTILINE)
_BLOCKS = ("<think>", "</think>", "<answer>", "</answer>")


def of_sample(sample: Sample, supervised: bool) -> Facts:
    """Facts of an STGR row; those of its reasoning only for supervised training."""
    times = [frame.time_s for frame in sample.key_frames]
    objects = [boxes for items in (sample.key_items or {}).values() for boxes in items.values()]
    facts = {
        "question.chars": len(sample.question.strip()),
        "key_frames.count": len(times) if sample.task is Task.TEMPORAL_SPATIAL else None,
        "key_frames.first_s": min(times, default=None),
        "key_frames.last_s": max(times, default=None),
        "key_frames.order": _order(sample.key_frames),
        "key_frames.repeated": _repeated(sample.key_frames),
        "key_items.unknown": _unknown_items(sample),
        **_box_facts("key_items", chain.from_iterable(objects)),
        **_answer_facts(sample),
    }
    if supervised:
        reasoning = sample.reasoning or ""
        facts |= {"reasoning_process.chars": len(reasoning), **_text_facts("reasoning_process", reasoning)}
        facts[UNGROUNDED] = sample.task in _GROUNDED and "<t>" not in reasoning and "<box>" not in reasoning
    return facts


def _answer_facts(sample: Sample) -> Facts:
    task, question = sample.task, sample.question
    option = {Task.MCQ: sample.answer, Task.TEMPORAL_MCQ: option_of(sample.answer)}.get(task)
    timed = task in (Task.TEMPORAL, Task.TEMPORAL_MCQ)
    facts = {
        "answer.option": option,
        "answer.unlisted": _unlisted(option, question) if option else None,
        **_span_facts("answer", parse_span(sample.answer) if timed else None),
        **_text_facts("answer", sample.answer),
        "answer.extent_px": None,
    }
    if task is Task.VISUAL and sample.size:
        width, height = sample.size
        boxes = parse_boxes(sample.answer)
        facts["answer.extent_px"] = min((max(box[2] * width, box[3] * height) for box in boxes), default=None)
    return facts


def _text_facts(field: str, text: str) -> Facts:
    """Facts of a text in the evidence grammar; its boxes are normalised."""
    completion = parse_completion(f"<think>{text}</think>")
    return {
        f"{field}.malformed": _malformed(text, len(completion.boxes), len(completion.times_s)),
        f"{field}.cited_s": max(completion.times_s, default=None),
        **_box_facts(field, completion.boxes),
    }


def _malformed(text: str, boxes: int, times: int) -> str | None:
    """The problem with a text's tags, given the numbers of boxes and times that could be read."""
    if "<" not in text:
        return None
    if block := next((tag for tag in _BLOCKS if tag in text), None):
        return f"holds {block}"
    for tag in ("obj", "box", "t"):
        opened, closed = text.count(f"<{tag}>"), text.count(f"</{tag}>")
        if opened != closed:
            return f"<{tag}> opened {opened} times, closed {closed} times"
    if boxes != text.count("<box>"):
        return "a <box> is not [x1,y1,x2,y2]"
    if times != text.count("<t>"):
        return "a time is not <t>seconds</t>s"
    return "an <obj> has no name" if "<obj></obj>" in text else None


def _span_facts(field: str, span: Sequence[float] | None) -> Facts:
    if span is None:
        return {f"{field}.start_s": None, f"{field}.end_s": None, f"{field}.length_s": None}
    start, end = span
    return {f"{field}.start_s": start, f"{field}.end_s": end, f"{field}.length_s": end - start}


def _box_facts(field: str, boxes: Iterable[Box]) -> Facts:
    """Over normalised boxes: lowest and highest coordinate, shortest side (negative where inverted)."""
    boxes = list(boxes)
    if not boxes:
        return {f"{field}.low": None, f"{field}.high": None, f"{field}.side": None}
    return {
        f"{field}.low": min(map(min, boxes)),
        f"{field}.high": max(map(max, boxes)),
        f"{field}.side": min(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes),
    }


def _order(frames: Sequence[KeyFrame]) -> str | None:
    for before, after in pairwise(frames):
        if after.time_s < before.time_s:
            return f"{after.time_s:g} s after {before.time_s:g} s"
    return None


def _repeated(frames: Sequence[KeyFrame]) -> str | None:
    seen: set[int] = set()
    for frame in frames:
        if frame.idx in seen:
            return f"idx {frame.idx}"
        seen.add(frame.idx)
    return None


def _unknown_items(sample: Sample) -> str | None:
    unknown = sorted(set(sample.key_items or ()) - {frame.idx for frame in sample.key_frames})
    return f"idx {unknown[0]}" if unknown else None


def listed(question: str) -> list[str]:
    """The letters of the options that a question lists, such as `A. blue` on a line of its own."""
    return _OPTION.findall(question)


def _unlisted(option: str, question: str) -> str | None:
    """Whether the answer is among the options that the question lists; true if it lists none."""
    letters = listed(question)
    return f"{option}, of {''.join(letters)}" if len(letters) > 1 and option not in letters else None
