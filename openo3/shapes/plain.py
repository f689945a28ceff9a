"""Plain questions about shapes scenes: what the base model is pretrained on.

What is in view, when, where, who comes and leaves; mostly answered at once, sometimes with the reason, in
plain words or in the form that the question asks for, whose marks are drawn anew each time. So the base
learns to cite evidence in a form it is told, as a large model does. The evidence grammar's own tags it never
sees. Of the descriptions of `questions.FAMILIES` it is asked only some (`KNOWN`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from openo3 import prompts
from openo3.evidence import bracketed, format_claim, format_completion, format_span, format_time, format_where
from openo3.geometry import PERMILLE
from openo3.schema import Task
from openo3.shapes.questions import (
    NUMBERS,
    SIDES,
    STAYS,
    moment,
    on_side,
    options,
    put_in,
    subjects,
    whereabouts,
    whole_seconds,
)
from openo3.shapes.scene import Object, Scene

TAGS = tuple((f"<{x}>", f"</{x}>") for x in "abcdefghijklmnopqrsuvwxyz")  # `t` is the grammar's
SIGNS = (("(", ")"), ("{", "}"), *((sign, sign) for sign in "*#|~$^'/!&+="))
MARKS = (*TAGS, *SIGNS)
"""What stands before and behind a piece of an answer where a question asks for it, as often tags as signs."""
LIKELY = np.repeat([0.5 / len(TAGS), 0.5 / len(SIGNS)], [len(TAGS), len(SIGNS)])
ECHOED = ("s", "at", "The ", ". ", "[", "]", ",", "From ", " to ", "comes", "first", *sum(MARKS, ()))
KNOWN = ("order", "succession", "side", "hiding")
"""The families that the base model is asked about; the others are new to it, which leaves it head-room."""


def plain_span(item: Object) -> str:
    return f"From {prompts.seconds(item.enter_s)}s to {prompts.seconds(item.leave_s)}s"


def permille_box(scene: Scene, item: Object, time_s: float) -> list[int]:
    return list(PERMILLE.from_normalised(scene.box(item, time_s)))


def where_json(scene: Scene, item: Object, at_s: Sequence[int]) -> str:
    """V-STaR's where-answer in the model's 0-1000 space: `{"3": [120,300,340,610]}`."""
    return format_where({second: permille_box(scene, item, second) for second in at_s})


def plain_what(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    time = round(float(rng.uniform(0, scene.duration_s)), 1)
    at = f"at {prompts.seconds(time)} seconds"
    seen = _in_a_row(scene, time)
    if rng.random() < 0.3:
        return f"List the shapes in view {at}.", ", ".join(item.name for item in seen) or "none"
    return f"Which shapes are in view {at}?", _all_named(seen) or "no shape"


def _in_a_row(scene: Scene, time_s: float) -> list[Object]:
    """The shapes that are seen at a time, from left to right."""
    seen = [item for item in scene.objects if scene.seen(item, time_s)]
    return sorted(seen, key=lambda item: item.centre(time_s)[0])


def _all_named(items: Sequence[Object]) -> str:
    return " and ".join(f"the {item.name}" for item in items)


def plain_place(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """Where one shape, or each, is at a time."""
    time = round(float(rng.uniform(0, scene.duration_s)), 1)
    seen = _in_a_row(scene, time)
    at = f"at {prompts.seconds(time)} seconds"
    if not seen:
        return f"Where are the shapes {at}?", "no shape"
    if rng.random() < 0.4:
        item = seen[rng.integers(len(seen))]
        return f"Where is the {item.name} {at}?", _box_text(scene, item, time)
    ask, tell = _placed(scene, seen, time, rng)
    return f"Where are the shapes {at}?{ask}", tell


def _placed(
    scene: Scene, items: Sequence[Object], time_s: float, rng: np.random.Generator
) -> tuple[str, str]:
    """How to answer, and the answer: each shape with its box, in sentences or as JSON."""
    if rng.random() < 0.5:
        places = (f'"{item.name}": {_box_text(scene, item, time_s)}' for item in items)
        return " Answer as JSON.", f"{{{', '.join(places)}}}"
    return "", " ".join(f"The {item.name} is at {_box_text(scene, item, time_s)}." for item in items)


def _box_text(scene: Scene, item: Object, time_s: float) -> str:
    return bracketed(permille_box(scene, item, time_s))


def plain_story(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """Who comes and leaves when, in order of coming."""
    ordered = sorted(scene.objects, key=lambda item: item.enter_s)
    kind = rng.random()
    if kind < 0.3:
        spans = (f'"{item.name}": [{item.enter_s:.1f},{item.leave_s:.1f}]' for item in ordered)
        return "When is each shape in view? Answer as JSON.", f"{{{', '.join(spans)}}}"
    if kind < 0.6:
        told = (
            f"The {item.name} comes into view at {prompts.seconds(item.enter_s)}s and leaves at "
            f"{prompts.seconds(item.leave_s)}s."
            for item in ordered
        )
        return "Tell what happens.", " ".join(told)
    first, *others = (_sighting(scene, item, moment(scene, item)) for item in ordered)
    told = (f"The {first} comes first.", *(f"Next comes the {other}." for other in others))
    return "Tell who comes, and where.", " ".join(told)


def _sighting(scene: Scene, item: Object, time_s: float) -> str:
    return f"{item.name} at {_box_text(scene, item, time_s)} at {prompts.seconds(time_s)}s"


def plain_reason(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """A grounded question answered with its reason in plain words."""
    subject = next(subjects(scene, rng, KNOWN))
    item = subject.item
    if rng.random() < 0.4:
        times = (prompts.seconds(item.enter_s), prompts.seconds(item.leave_s))
        answer = f"{whereabouts(item, *times)} {plain_span(item)}"
        return f"When is {subject.phrase} in view? Explain.", answer
    reason = put_in(subject.reason, [_sighting(scene, item, time) for item, time in subject.evidence])
    return f"What is {subject.phrase}? Explain.", f"{reason} It is the {item.name}."


def plain_marked(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """A grounded question answered with its reason, its pieces marked as the question says."""
    subject = next(subjects(scene, rng, KNOWN))
    item, kind = subject.item, rng.random()
    what, when = f"What is {subject.phrase}?", f"When is {subject.phrase} in view?"
    span = format_span(item.enter_s, item.leave_s)
    choices, letter = options(scene, item, rng)
    if kind < 0.45:
        claims = [_claim(scene, cited, time) for cited, time in subject.evidence]
        reason = put_in(subject.reason, claims)
        if kind < 0.33:
            return _marked(prompts.vstar_what(what), reason, f"the {item.name}", rng)
        return _marked(prompts.task_text(Task.MCQ, f"{what}\n{choices}"), reason, letter, rng)
    reason = whereabouts(item, format_time(item.enter_s), format_time(item.leave_s))
    if kind < 0.55:
        question = f"{when[:-1]}, and what is it?\n{choices}"
        answer = f"{span}\nCorrect Option: {letter}"
        return _marked(prompts.task_text(Task.TEMPORAL_MCQ, question), reason, answer, rng)
    if kind < 0.8:
        return _marked(prompts.vstar_when(when), reason, span, rng)
    boxes = [permille_box(scene, item, second) for second in whole_seconds(item)]
    return _marked(prompts.vstar_when_boxed(when, boxes), reason, span, rng)


def _claim(scene: Scene, item: Object, time_s: float) -> str:
    return format_claim(item.name, [permille_box(scene, item, time_s)], round(time_s, 1))


def _pictured(scene: Scene, item: Object, time_s: float) -> str:
    return format_claim(item.name, [permille_box(scene, item, time_s)])


def _marked(question: str, reason: str, answer: str, rng: np.random.Generator) -> tuple[str, str]:
    """Question and answer with other marks in place of the grammar's tags, the same in both."""
    names = ("think", "answer", "obj", "box", "t")
    drawn = [MARKS[index] for index in rng.choice(len(MARKS), size=len(names), replace=False, p=LIKELY)]
    marks = {}
    for name, (opening, closing) in zip(names, drawn, strict=True):
        marks |= {f"<{name}>": opening, f"</{name}>": closing}
    return tuple(
        re.sub("|".join(marks), lambda found: marks[found[0]], text)
        for text in (question, format_completion(reason, answer))
    )


def plain_echo(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """Pieces in no order, to be repeated: copying, and every name, number and mark as a thing to write."""
    names = [item.name for item in scene.objects]
    pieces = []
    for kind in rng.choice(3, size=int(rng.integers(3, 10)), p=[0.5, 0.3, 0.2]):
        number = f"{rng.uniform(0, 40):.1f}"
        pieces.append((ECHOED[rng.integers(len(ECHOED))], names[rng.integers(len(names))], number)[kind])
    text = "".join(pieces) if rng.random() < 0.7 else " ".join(pieces)
    return f"Repeat: {text}", text


def plain_subject(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """A grounded question answered at once: rare."""
    subject = next(subjects(scene, rng, KNOWN))
    what, when, kind = f"What is {subject.phrase}?", f"When is {subject.phrase} in view?", rng.integers(3)
    if kind == 0:
        return when, plain_span(subject.item)
    if kind == 1:
        return what, f"the {subject.item.name}"
    choices, letter = options(scene, subject.item, rng)
    return f"{what}\n{choices}", letter


def plain_when(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    item = scene.objects[rng.integers(len(scene.objects))]
    question = f"When is the {item.name} in view?"
    if rng.random() < 0.25:
        boxes = [permille_box(scene, item, second) for second in whole_seconds(item)]
        question = prompts.with_boxes(question, boxes)
    return question, plain_span(item)


def plain_where(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    item = scene.objects[rng.integers(len(scene.objects))]
    question = f"Where is the {item.name}?"
    at_s = whole_seconds(item)
    if rng.random() < 0.3 and len(at_s) < 6:
        return prompts.vstar_where_untimed(question, len(at_s)), where_json(scene, item, at_s)
    if rng.random() < 0.8:  # mostly short lists: the boxes after the first teach little
        at_s = sorted(rng.choice(at_s, size=min(len(at_s), int(rng.integers(1, 4))), replace=False).tolist())
    return prompts.vstar_where(question, at_s), where_json(scene, item, at_s)


def plain_motion(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    if rng.random() < 0.5:
        return "How many shapes come into view?", NUMBERS[len(scene.objects)]
    item = scene.objects[rng.integers(len(scene.objects))]
    return f"Which way does the {item.name} move?", item.direction or STAYS


def plain_image(scene: Scene, time_s: float, rng: np.random.Generator) -> tuple[str, str] | None:
    """What is in a still picture of the scene, or where; `None` if the picture is empty."""
    seen = _in_a_row(scene, time_s)
    if not seen:
        return None
    kind = rng.random()
    if kind < 0.2:
        return "Which shapes are in the picture?", _all_named(seen)
    if kind < 0.4:
        ask, tell = _placed(scene, seen, time_s, rng)
        return f"Where are the shapes?{ask}", tell
    item = seen[rng.integers(len(seen))]
    side = list(SIDES)[rng.integers(len(SIDES))]
    if kind < 0.6 and (beside := on_side(seen, item, side, time_s)):
        at, there = (_pictured(scene, shape, time_s) for shape in (item, beside))
        question = prompts.task_text(Task.VISUAL, f"Where is the shape {side} the {item.name}?")
        return _marked(question, f"The {at} is in view. It has the {there} {side} it.", there, rng)
    if kind < 0.75:
        question = prompts.task_text(Task.VISUAL, f"Where is the {item.name}?")
        there = _pictured(scene, item, time_s)
        return _marked(question, f"The {there} is in view.", there, rng)
    return f"Where is the {item.name}?", _box_text(scene, item, time_s)


PLAIN: tuple[tuple[float, Callable[[Scene, np.random.Generator], tuple[str, str]]], ...] = (
    (0.16, plain_what),
    (0.20, plain_when),
    (0.24, plain_where),
    (0.12, plain_place),
    (0.10, plain_story),
    (0.05, plain_motion),
    (0.01, plain_subject),
    (0.04, plain_reason),
    (0.16, plain_marked),
    (0.05, plain_echo),
)


def plain_questions(scene: Scene, count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """`count` plain (prompt text, answer) pairs about one clip."""
    weights = np.array([weight for weight, _ in PLAIN])
    picks = rng.choice(len(PLAIN), size=count, p=weights / weights.sum())
    return [PLAIN[pick][1](scene, rng) for pick in picks]
