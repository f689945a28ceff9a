"""A model's reply -> candidates for records. Replies are untrusted: a broken one is a rejection, no error.

A reply by the schema of temporal-spatial questions:

    {"annotations": [
        {"question": "What does the man pick up?", "answer": "a wrench",
         "key_frames": [{"time_s": 2.5, "objects": [{"name": "wrench", "box": [120, 300, 340, 610]}]}],
         "reasoning": "The <obj>wrench</obj><box>[120,300,340,610]</box>at<t>2.5</t>s is ..."}]}

A reply in the evidence grammar answers a given question; its claims are the key items.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openo3.annotating.candidates import SOURCE, Candidate, Item, check_row, clean, clean_name, key_items
from openo3.annotating.clips import Clip
from openo3.annotations.rejections import Reason, RowError, printable
from openo3.annotations.rows import listed, mapping, number, record, shown, text
from openo3.core.answers import OPTION, canonical_answer, option_of
from openo3.core.evidence import (
    bounded_box,
    convert_boxes,
    format_box,
    format_span,
    parse_boxes,
    parse_claims,
    parse_completion,
    parse_span,
)
from openo3.core.geometry import NORMALISED, BoxSpace
from openo3.core.prompts import Prompts
from openo3.core.reading import read_choice
from openo3.core.schema import KeyFrame, Sample, Task

MAX_KEY_FRAMES, MAX_OBJECTS, MAX_OPTIONS = 16, 32, 10
"""The most of one annotation, and the most objects of a key frame."""

_BEYOND_S = 0.5  # times that are rounded may lie so far beyond the end, as in `openo3.validation`

CHOICES = (Task.MCQ, Task.TEMPORAL_MCQ)
SPANS = (Task.TEMPORAL, Task.TEMPORAL_MCQ)
_TIMED = re.compile(r"<t>\s{0,4}([0-9]{1,9}(?:\.[0-9]{0,9})?)\s{0,4}s?\s{0,4}</t>(?:\s{0,4}s\b)?")
"""A time as models write it, with blanks or the unit in another place."""
_FENCE = re.compile(r"^\s*```[a-zA-Z]{0,10}\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """What a reply is about.

    `question` is a given one; `space` that of the boxes in the reply; `times_s` those of the frames that the
    model saw, empty where it saw the clip itself; `count` is how many annotations were asked for, of which
    the first is the clip's `first` of its task. `prompts` list the options of a choice.
    """

    clip: Clip
    task: Task
    question: str | None
    space: BoxSpace
    times_s: Sequence[float]
    count: int
    prompts: Prompts
    first: int = 1


@dataclass(frozen=True)
class Unusable:
    """A reply, or one annotation of it, that gives no candidate: `text` shows it."""

    reason: str
    detail: str
    text: str


def schema_of(task: Task, *, given: bool) -> dict[str, Any]:
    """The JSON schema of replies about a task, in the part of JSON Schema that every endpoint knows.

    Bounds are in the prompt, and checked here.
    """
    string, number_ = {"type": "string"}, {"type": "number"}
    box = {"type": "array", "items": number_, "description": "x1, y1, x2, y2"}
    objects = {"type": "array", "items": _object({"name": string, "box": box})}
    fields: dict[str, Any] = {"question": string}
    if task in CHOICES and not given:
        fields["options"] = {"type": "array", "items": string}
    if task is Task.VISUAL:
        fields["objects"] = objects
    else:
        fields["key_frames"] = {"type": "array", "items": _object({"time_s": number_, "objects": objects})}
    fields["reasoning"] = string
    if task in SPANS:
        fields |= {"start_s": number_, "end_s": number_}
    if task is not Task.TEMPORAL:
        fields["answer"] = string
    return _object({"annotations": {"type": "array", "items": _object(fields)}})


def _object(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(fields),
        "required": list(fields),
        "additionalProperties": False,
    }


def read_schema(said: str, asked: Asked) -> Iterator[Candidate | Unusable]:
    """What a reply by the schema holds, of the annotations that were asked for."""
    try:
        annotations = listed(record(_json(said)).get("annotations"), "annotations")
        if not annotations:
            raise RowError(Reason.FIELD_MISSING, "annotations", "none")
    except RowError as error:
        yield _unusable(error, said)
        return
    for position, raw in enumerate(annotations[: asked.count]):
        try:
            yield _of_schema(record(raw), asked, position)
        except RowError as error:
            yield _unusable(error, shown(raw))


def read_evidence(said: str, asked: Asked) -> Iterator[Candidate | Unusable]:
    """What a reply in the evidence grammar says about the given question."""
    try:
        yield _of_evidence(said, asked)
    except RowError as error:
        yield _unusable(error, said)


def _unusable(error: RowError, said: str) -> Unusable:
    return Unusable(f"reply: {error.reason}", printable(str(error))[:300], printable(said[:2000]))


def _json(said: str) -> Any:
    """The JSON of a reply: the whole of it, that within a code fence, or that after reasoning."""
    after = said.rpartition("</think>")[2]
    fenced = _FENCE.match(after)
    problem = ""
    for written in (said, fenced[1] if fenced else after):
        try:
            return json.loads(written)
        except (ValueError, RecursionError) as error:  # malformed, 5,000 digits, 100,000 brackets
            problem = str(error)[:100]
    raise RowError(Reason.WRONG_TYPE, "reply", f"not JSON: {problem}")


def _of_schema(raw: Mapping[str, Any], asked: Asked, position: int) -> Candidate:
    task = asked.task
    question = clean(asked.question or text(raw, "question"), "question")
    if asked.question is None and task in CHOICES:
        options = [
            clean(_text(option, "options"), "options") for option in listed(raw.get("options"), "options")
        ]
        if not 2 <= len(options) <= MAX_OPTIONS:
            raise RowError(Reason.UNKNOWN_OPTION, "options", f"{len(options)}, expected 2 to {MAX_OPTIONS}")
        question = f"{question}\n{asked.prompts.lettered([' '.join(option.split()) for option in options])}"
    reasoning = _reasoning(text(raw, "reasoning"), asked.space)
    if task is Task.VISUAL:
        items = tuple(_objects(raw.get("objects"), "objects", None, asked.space))
        answer = _visual_answer(clean(text(raw, "answer"), "answer"), items)
    else:
        items = tuple(_of_key_frames(raw, asked))
        answer = _answer(raw, asked, question)
    return _candidate(asked, position, question, answer, reasoning, items)


def _of_key_frames(raw: Mapping[str, Any], asked: Asked) -> Iterator[Item]:
    frames = listed(raw.get("key_frames"), "key_frames")
    if len(frames) > MAX_KEY_FRAMES:
        raise RowError(Reason.TOO_LONG, "key_frames", f"{len(frames)}, at most {MAX_KEY_FRAMES}")
    for position, each in enumerate(frames):
        field = f"key_frames[{position}]"
        frame = mapping(each, field)
        time_s = _shown_time(number(frame.get("time_s"), f"{field}.time_s"), f"{field}.time_s", asked)
        yield from _objects(frame.get("objects"), f"{field}.objects", time_s, asked.space)


def _objects(raw: Any, field: str, time_s: float | None, space: BoxSpace) -> Iterator[Item]:
    objects = listed(raw, field)
    if len(objects) > MAX_OBJECTS:
        raise RowError(Reason.TOO_LONG, field, f"{len(objects)} objects, at most {MAX_OBJECTS}")
    for position, each in enumerate(objects):
        entry = mapping(each, f"{field}[{position}]")
        sides = listed(entry.get("box"), f"{field}[{position}].box")
        if len(sides) != 4:
            expected = f"expected 4 numbers, found {shown(sides)}"
            raise RowError(Reason.WRONG_TYPE, f"{field}[{position}].box", expected)
        box = bounded_box([number(side, f"{field}[{position}].box") for side in sides], space)
        yield Item(clean_name(text(entry, "name"), f"{field}[{position}]"), box, time_s)


def _shown_time(time_s: float, field: str, asked: Asked) -> float:
    """The time of the frame that the model means: the nearest that it saw, else the time itself."""
    end_s = asked.clip.media.duration_s or 0.0
    if not -_BEYOND_S <= time_s <= end_s + _BEYOND_S:
        raise RowError(Reason.KEY_TIME, field, f"{time_s:g} s of {end_s:g} s")
    if asked.times_s:
        return round(min(asked.times_s, key=lambda shown_s: abs(shown_s - time_s)), 3)
    return round(min(max(time_s, 0.0), end_s), 3)


def _answer(raw: Mapping[str, Any], asked: Asked, question: str) -> str:
    span = ""
    if asked.task in SPANS:
        start, end = (number(raw.get(name), name) for name in ("start_s", "end_s"))
        if start < 0:
            raise RowError(Reason.SPAN_TIME, "start_s", f"{start:g} s")
        span = format_span(start, end)
    if asked.task is Task.TEMPORAL:
        return span
    answer = clean(text(raw, "answer"), "answer")
    if asked.task not in CHOICES:
        return answer
    letter = _letter(answer, question)
    return f"{span}\n{OPTION} {letter}" if span else letter


def _letter(said: str, question: str) -> str:
    options = [line.partition(". ")[2] for line in question.splitlines() if re.match(r"[A-Z]\. ", line)]
    letter, _ = read_choice(said, options)
    if not letter or (options and ord(letter) - ord("A") >= len(options)):
        raise RowError(Reason.UNKNOWN_OPTION, "answer", shown(said))
    return letter


def _visual_answer(said: str, items: Sequence[Item]) -> str:
    """The answer's object with its box, which must be among the objects listed, once."""
    found = [item for item in items if item.name.casefold() == said.casefold()]
    if len(found) != 1:
        raise RowError(Reason.BAD_ANSWER, "answer", f"{shown(said)} is listed {len(found)} times")
    return f"<obj>{found[0].name}</obj>{format_box(NORMALISED.from_normalised(found[0].box))}"


def _reasoning(said: str, space: BoxSpace) -> str:
    """The reasoning with normalised boxes; one that cannot be read is a rejection."""
    reasoning = _TIMED.sub(r"<t>\1</t>s", clean(said, "reasoning", tags=True))
    readable = {
        "box": parse_boxes(reasoning, space),
        "t": parse_completion(f"<think>{reasoning}</think>").times_s,
    }
    for tag in ("obj", "box", "t"):
        opened, closed = reasoning.count(f"<{tag}>"), reasoning.count(f"</{tag}>")
        if opened != closed or opened != len(readable.get(tag, [None] * opened)):
            raise RowError(Reason.BAD_EVIDENCE, "reasoning", f"a <{tag}> cannot be read")
    if re.search(r"<obj>\s*</obj>", reasoning):
        raise RowError(Reason.BAD_EVIDENCE, "reasoning", "an <obj> has no name")
    return convert_boxes(reasoning, space, NORMALISED)


def _of_evidence(said: str, asked: Asked) -> Candidate:
    completion = parse_completion(said, asked.space)
    if completion.reasoning is None or completion.answer is None:
        raise RowError(Reason.BAD_EVIDENCE, "reply", "not <think>…</think><answer>…</answer>")
    reasoning = _reasoning(completion.reasoning, asked.space)
    said = clean(completion.answer, "answer", tags=True)
    answer = convert_boxes(said, asked.space, NORMALISED)
    question = clean(asked.question or "", "question")
    if asked.task is Task.MCQ:
        answer = _letter(answer, question)
    elif asked.task is not Task.VISUAL:
        try:
            answer = canonical_answer(asked.task, answer)
        except ValueError as error:
            raise RowError(Reason.BAD_ANSWER, "answer", f"{shown(answer)} {error}") from None
        if asked.task is Task.TEMPORAL_MCQ:
            _letter(option_of(answer), question)
    elif not parse_boxes(answer):
        raise RowError(Reason.BAD_ANSWER, "answer", "has no <box>[x1,y1,x2,y2]</box>")
    texts = f"{reasoning}\n{answer}" if asked.task is Task.VISUAL else reasoning
    items = tuple(_of_claims(texts, asked))
    return _candidate(asked, 0, question, answer, reasoning, items)


def _of_claims(evidence: str, asked: Asked) -> Iterator[Item]:
    claims = parse_claims(evidence)
    if sum(len(claim.boxes) for claim in claims) > MAX_KEY_FRAMES * MAX_OBJECTS:
        raise RowError(Reason.TOO_LONG, "reasoning", f"{len(claims)} claims")
    seen: set[Item] = set()
    for claim in claims:
        time_s = None
        if asked.task is not Task.VISUAL:
            if claim.time_s is None:
                continue
            time_s = _shown_time(claim.time_s, "reasoning.t", asked)
        for box in claim.boxes:
            item = Item(clean_name(claim.name, "reasoning"), box, time_s)
            if item not in seen:
                seen.add(item)
                yield item


def _candidate(
    asked: Asked, position: int, question: str, answer: str, reasoning: str, items: tuple[Item, ...]
) -> Candidate:
    """Raises `RowError` if the record could not be read back."""
    media, keyed = asked.clip.media, key_items(items)
    frames = tuple(KeyFrame(idx, time_s) for idx, time_s in enumerate(keyed, start=1))
    sample = Sample(
        id=f"{asked.clip.digest[:16]}-{asked.task.name.lower().replace('_', '-')}-{asked.first + position}",
        task=asked.task,
        source=SOURCE,
        question=question,
        answer=answer,
        media=asked.clip.name,
        duration_s=media.duration_s,
        size=media.size,
        key_frames=frames,
        key_items={
            frame.idx: {name: tuple(boxes) for name, boxes in keyed[frame.time_s].items()} for frame in frames
        },
        reasoning=reasoning,
    )
    if asked.task is Task.TEMPORAL_SPATIAL and not frames:
        raise RowError(Reason.NO_KEY_FRAMES, "key_frames")
    _check_times(sample)
    check_row(sample)
    return Candidate(sample, items)


def _check_times(sample: Sample) -> None:
    """Raises `RowError` for times that `openo3.validation` would reject the record for."""
    end_s = (sample.duration_s or math.inf) + _BEYOND_S
    if (span := parse_span(sample.answer)) and sample.task in SPANS:
        if span[0] >= span[1]:
            raise RowError(Reason.SPAN_EMPTY, "answer", f"from {span[0]:g} s to {span[1]:g} s")
        if span[1] > end_s:
            raise RowError(Reason.SPAN_TIME, "answer", f"{span[1]:g} s of {sample.duration_s:g} s")
    times_s = parse_completion(f"<think>{sample.reasoning}</think>").times_s
    if late := next((time_s for time_s in times_s if time_s > end_s), None):
        raise RowError(Reason.EVIDENCE_TIME, "reasoning", f"{late:g} s of {sample.duration_s:g} s")


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, field, f"expected text, found {shown(value)}")
    return value
