"""The questions that the base model is pretrained on, with loose labels.

They ask which shapes are in view, when and where, and in which order shapes come and leave. Most answers are
short; some give a reason, in plain words or in the evidence grammar. Boxes are too wide and spans too long
(`LOOSE`), as in captions and pseudo-labels, so the base locates shapes only roughly. Descriptions take one
step (`questions.SIMPLE`); composed questions do not occur. Both leave room for fine-tuning and for
reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from openo3.core import prompts
from openo3.core.evidence import (
    bracketed,
    format_claim,
    format_completion,
    format_span,
    format_time,
    format_where,
)
from openo3.core.geometry import RELATIVE_1000, Span
from openo3.core.schema import Box, Task
from openo3.shapes.noise import LabelNoise
from openo3.shapes.questions import (
    NUMBERS,
    SIDES,
    SIMPLE,
    STAYS,
    Subject,
    arrival,
    clear_subjects,
    departure,
    first_to_come,
    insert_claims,
    on_side,
    options,
    visibility_reason,
    whole_seconds,
)
from openo3.shapes.scene import Object, Scene

T = TypeVar("T")
Pair = tuple[str, str]
"""A question and its answer."""
TAGS = tuple(f"<{slash}{name}>" for name in ("think", "answer", "obj", "box", "t") for slash in ("", "/"))
ECHOED = ("s", "at", "The ", ". ", "[", "]", ",", "From ", " to ", "comes", "first", *TAGS)
LOOSE = LabelNoise(box_sigma=0.03, box_loosen=0.05, span_sigma_s=0.75, span_loosen_s=1.5)
"""The label noise of pretraining."""


class PretrainingQuestions:
    """Draws questions about one scene, with loosely labelled answers; each public method draws one kind."""

    def __init__(self, scene: Scene, rng: np.random.Generator, noise: LabelNoise = LOOSE) -> None:
        self.scene, self.rng, self.noise = scene, rng, noise

    def what(self) -> Pair:
        time = self._any_time()
        at = f"at {prompts.seconds(time)} seconds"
        seen = self._left_to_right(time)
        if self.rng.random() < 0.3:
            return f"List the shapes in view {at}.", ", ".join(item.name for item in seen) or "none"
        return f"Which shapes are in view {at}?", _all_named(seen) or "no shape"

    def locations(self) -> Pair:
        """The box of one shape, or of each shape in view, at a time."""
        time = self._any_time()
        seen = self._left_to_right(time)
        at = f"at {prompts.seconds(time)} seconds"
        if not seen:
            return f"Where are the shapes {at}?", "no shape"
        if self.rng.random() < 0.4:
            item = self._choose(seen)
            return f"Where is the {item.name} {at}?", self._box_text(item, time)
        request, answer = self._box_list(seen, time)
        return f"Where are the shapes {at}?{request}", answer

    def narration(self) -> Pair:
        """All entries and exits, in order."""
        arriving = sorted(self.scene.objects, key=lambda item: item.enter_s)
        kind = self.rng.random()
        if kind < 0.25:
            spans = (
                f'"{item.name}": [{start:.1f},{end:.1f}]' for item, (start, end) in self._spans(arriving)
            )
            return "When is each shape in view? Answer as JSON.", f"{{{', '.join(spans)}}}"
        if kind < 0.5:
            told = (
                f"The {item.name} comes into view at {prompts.seconds(start)}s and leaves at "
                f"{prompts.seconds(end)}s."
                for item, (start, end) in self._spans(arriving)
            )
            return "Tell what happens.", " ".join(told)
        if kind < 0.8:
            first, *others = (self._sighting(item, arrival(self.scene, item)) for item in arriving)
            told = (f"The {first} comes first.", *(f"Next comes the {other}." for other in others))
            return "Tell who comes, and where.", " ".join(told)
        leaving = sorted(self.scene.objects, key=lambda item: item.leave_s)
        first, *others = (self._sighting(item, departure(self.scene, item)) for item in leaving)
        told = (f"The {first} leaves first.", *(f"Next leaves the {other}." for other in others))
        return "Tell who leaves, and where.", " ".join(told)

    def explanation(self) -> Pair:
        """A one-step question answered with its reason in plain words."""
        subject = self._subject()
        if self.rng.random() < 0.4:
            start, end = self._span(subject.item)
            reason = visibility_reason(subject, f"{prompts.seconds(start)}s", f"{prompts.seconds(end)}s")
            return f"{subject.when} Explain.", f"{reason} {_span_text((start, end))}"
        reason = insert_claims(
            subject.reason, [self._sighting(item, time) for item, time in subject.evidence]
        )
        return f"{subject.what} Explain.", f"{reason} It is the {subject.item.name}."

    def grounded(self) -> Pair:
        """A one-step question answered in the evidence grammar."""
        subject = self._subject()
        item, kind, what, when = subject.item, self.rng.random(), subject.what, subject.when
        choices, letter = options(self.scene, item, self.rng)
        if kind < 0.45:
            claims = [format_claim(cited.name, [self._box(cited, at)], at) for cited, at in subject.evidence]
            reason = insert_claims(subject.reason, claims)
            if kind < 0.33:
                return prompts.vstar_what(what), format_completion(reason, f"the {item.name}")
            question = prompts.task_text(Task.MCQ, f"{what}\n{choices}")
            return question, format_completion(reason, letter)
        span = self._span(item)
        reason, answer = visibility_reason(subject, *map(format_time, span)), format_span(*span)
        if kind < 0.55:
            question = prompts.task_text(Task.TEMPORAL_MCQ, f"{subject.when_and_what}\n{choices}")
            return question, format_completion(reason, f"{answer}\nCorrect Option: {letter}")
        if kind < 0.8:
            return prompts.vstar_when(when), format_completion(reason, answer)
        boxes = [exact_box(self.scene, item, second) for second in whole_seconds(item)]
        return prompts.vstar_when_boxed(when, boxes), format_completion(reason, answer)

    def echo(self) -> Pair:
        """Random names, numbers and tags to repeat, which teaches copying and every token of the grammar."""
        names = [item.name for item in self.scene.objects]
        pieces = []
        for kind in self.rng.choice(3, size=int(self.rng.integers(3, 10)), p=[0.5, 0.3, 0.2]):
            number = f"{self.rng.uniform(0, 40):.1f}"
            pieces.append((self._choose(ECHOED), self._choose(names), number)[kind])
        text = "".join(pieces) if self.rng.random() < 0.7 else " ".join(pieces)
        return f"Repeat: {text}", text

    def short_answer(self) -> Pair:
        """A one-step question answered without a reason."""
        subject = self._subject()
        kind = self.rng.integers(3)
        if kind == 0:
            return subject.when, _span_text(self._span(subject.item))
        if kind == 1:
            return subject.what, f"the {subject.item.name}"
        choices, letter = options(self.scene, subject.item, self.rng)
        return f"{subject.what}\n{choices}", letter

    def when(self) -> Pair:
        item = self._choose(self.scene.objects)
        question = f"When is the {item.name} in view?"
        if self.rng.random() < 0.25:
            boxes = [exact_box(self.scene, item, second) for second in whole_seconds(item)]
            question = prompts.with_boxes(question, boxes)
        return question, _span_text(self._span(item))

    def where(self) -> Pair:
        """V-STaR's where question: at given seconds, or at a number of seconds that the model chooses."""
        item = self._choose(self.scene.objects)
        question = f"Where is the {item.name}?"
        at_s = whole_seconds(item)
        if self.rng.random() < 0.3 and len(at_s) < 6:
            return prompts.vstar_where_untimed(question, len(at_s)), self._where_json(item, at_s)
        if self.rng.random() < 0.8:  # mostly short lists, since boxes after the first teach little
            count = min(len(at_s), int(self.rng.integers(1, 4)))
            at_s = sorted(self.rng.choice(at_s, size=count, replace=False).tolist())
        return prompts.vstar_where(question, at_s), self._where_json(item, at_s)

    def count_or_motion(self) -> Pair:
        if self.rng.random() < 0.5:
            return "How many shapes come into view?", NUMBERS[len(self.scene.objects)]
        item = self._choose(self.scene.objects)
        return f"Which way does the {item.name} move?", item.direction or STAYS

    def picture(self, time_s: float) -> Pair | None:
        """A question about a still picture of the scene; `None` if the picture is empty."""
        seen = self._left_to_right(time_s)
        if not seen:
            return None
        kind = self.rng.random()
        if kind < 0.2:
            return "Which shapes are in the picture?", _all_named(seen)
        if kind < 0.4:
            request, answer = self._box_list(seen, time_s)
            return f"Where are the shapes?{request}", answer
        item = self._choose(seen)
        side = self._choose(list(SIDES))
        there = [other for other in self.scene.objects if other.in_view(time_s)]
        if kind < 0.6 and (beside := on_side(there, item, side, time_s)) in seen:
            at, there = (format_claim(shape.name, [self._box(shape, time_s)]) for shape in (item, beside))
            question = prompts.task_text(Task.VISUAL, f"Where is the shape {side} the {item.name}?")
            return question, format_completion(f"The {at} is in view. It has the {there} {side} it.", there)
        if kind < 0.75:
            question = prompts.task_text(Task.VISUAL, f"Where is the {item.name}?")
            there = format_claim(item.name, [self._box(item, time_s)])
            return question, format_completion(f"The {there} is in view.", there)
        return f"Where is the {item.name}?", self._box_text(item, time_s)

    def _any_time(self) -> float:
        return round(float(self.rng.uniform(0, self.scene.duration_s)), 1)

    def _choose(self, choices: Sequence[T]) -> T:
        return choices[int(self.rng.integers(len(choices)))]

    def _subject(self) -> Subject:
        """A one-step description; the shape that comes first if the scene is too crowded for a clear one."""
        found = clear_subjects(self.scene, self.rng, tuple(SIMPLE))
        return next(found, None) or first_to_come(self.scene)

    def _left_to_right(self, time_s: float) -> list[Object]:
        """The visible shapes at a time, from left to right."""
        seen = [item for item in self.scene.objects if self.scene.seen(item, time_s)]
        return sorted(seen, key=lambda item: item.centre(time_s)[0])

    def _span(self, item: Object) -> Span:
        return self.noise.span((item.enter_s, item.leave_s), self.scene.duration_s, self.rng)

    def _spans(self, items: Sequence[Object]) -> list[tuple[Object, Span]]:
        return [(item, self._span(item)) for item in items]

    def _box(self, item: Object, time_s: float) -> list[int]:
        """A loose box in thousandths of the frame."""
        return _in_thousandths(self.noise.box(self.scene.box(item, time_s), self.rng))

    def _box_text(self, item: Object, time_s: float) -> str:
        return bracketed(self._box(item, time_s))

    def _where_json(self, item: Object, at_s: Sequence[int]) -> str:
        """V-STaR's where-answer: `{"3": [120,300,340,610]}`."""
        return format_where({second: self._box(item, second) for second in at_s})

    def _sighting(self, item: Object, time_s: float) -> str:
        return f"{item.name} at {self._box_text(item, time_s)} at {prompts.seconds(time_s)}s"

    def _box_list(self, items: Sequence[Object], time_s: float) -> Pair:
        """A request for a format, and the answer in it: each shape with its box, in sentences or as JSON."""
        if self.rng.random() < 0.5:
            places = (f'"{item.name}": {self._box_text(item, time_s)}' for item in items)
            return " Answer as JSON.", f"{{{', '.join(places)}}}"
        return "", " ".join(f"The {item.name} is at {self._box_text(item, time_s)}." for item in items)


def exact_box(scene: Scene, item: Object, time_s: float) -> list[int]:
    """The true box in thousandths of the frame, as a question states it."""
    return _in_thousandths(scene.box(item, time_s))


def _in_thousandths(box: Box) -> list[int]:
    """A normalised box in thousandths of the frame."""
    return [int(side) for side in RELATIVE_1000.from_normalised(box)]


def _all_named(items: Sequence[Object]) -> str:
    return " and ".join(f"the {item.name}" for item in items)


def _span_text(span: Span) -> str:
    return f"From {prompts.seconds(span[0])}s to {prompts.seconds(span[1])}s"


SHARES: Mapping[Callable[[PretrainingQuestions], Pair], float] = {
    PretrainingQuestions.what: 0.14,
    PretrainingQuestions.when: 0.18,
    PretrainingQuestions.where: 0.22,
    PretrainingQuestions.locations: 0.10,
    PretrainingQuestions.narration: 0.16,
    PretrainingQuestions.count_or_motion: 0.04,
    PretrainingQuestions.short_answer: 0.04,
    PretrainingQuestions.explanation: 0.05,
    PretrainingQuestions.grounded: 0.18,
    PretrainingQuestions.echo: 0.03,
}
"""Relative frequency of each kind of question about a clip."""


def draw_questions(
    scene: Scene, count: int, rng: np.random.Generator, noise: LabelNoise = LOOSE
) -> list[Pair]:
    """Draw `count` (prompt text, answer) pairs about one clip."""
    kinds, weights = list(SHARES), np.array([*SHARES.values()])
    questions = PretrainingQuestions(scene, rng, noise)
    return [kinds[pick](questions) for pick in rng.choice(len(kinds), size=count, p=weights / weights.sum())]
