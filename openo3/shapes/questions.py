"""Grounded questions about shapes scenes, with the evidence for their answers.

A question describes a shape by what it does. Simple questions take one step ("What is the shape that leaves
first?"). Composed questions take two or three ("Find the next shape to come into view after the red circle,
then the next shape to leave after it. What is it?"). Each step has a sentence and evidence: an object in a
box at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np

from openo3.core import prompts
from openo3.shapes.scene import COLOURS, DIRECTIONS, SHAPES, Object, Scene

SIDES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
LETTERS = "ABCD"
STAYS = "it stays"
NUMBERS = (
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)


@dataclass(frozen=True)
class Subject:
    """A shape described by what it does.

    `phrase` describes the shape without naming it. If the description takes several steps, the sentence
    `steps` gives them and `phrase` is "it". `evidence` holds one (object, time) pair for each step. `reason`
    has one sentence for each step, with `{0}`, `{1}` in place of the claims. `family` is a key of `FAMILIES`.
    """

    item: Object
    phrase: str
    evidence: tuple[tuple[Object, float], ...]
    reason: str
    family: str = ""
    steps: str = ""

    @property
    def what(self) -> str:
        return f"{self.steps}What is {self.phrase}?"

    @property
    def when(self) -> str:
        return f"{self.steps}When is {self.phrase} in view?"

    @property
    def when_and_what(self) -> str:
        return f"{self.steps}When is {self.phrase} in view, and what is it?"


NAMED = "named"
"""The pseudo-family of a shape that is named; chains of steps start from it."""
Family = Callable[[Scene, np.random.Generator], Subject | None]
CitedTime = Callable[[Scene, Object], float]


def arrival(scene: Scene, item: Object) -> float:
    """The time to cite for an entry: the first whole second at which the shape is visible, if any."""
    return _first_visible(scene, item, _citable(item))


def departure(scene: Scene, item: Object) -> float:
    """The time to cite for an exit: the last whole second at which the shape is visible, if any."""
    return _first_visible(scene, item, _citable(item)[::-1])


def _citable(item: Object) -> list[float]:
    """Times at which to cite a shape: whole seconds, as benchmarks ask, or its middle if it shows none."""
    whole = [float(s) for s in range(ceil(item.enter_s + 0.25), floor(item.leave_s - 0.25) + 1)]
    return whole or [(item.enter_s + item.leave_s) / 2]


def _first_visible(scene: Scene, item: Object, times: Sequence[float]) -> float:
    return next((time for time in times if scene.seen(item, time)), times[0])


@dataclass(frozen=True)
class Relation:
    """One step from a shape to another.

    `phrase` describes the second shape, with `{}` in place of the first. `sentence` states the step, with
    `{}` in place of the second shape's claim. `find` returns the second shape and the times at which to cite
    the first and the second, or `None` if there is no such shape.
    """

    phrase: str
    sentence: str
    find: Callable[[Scene, Object], tuple[Object, float, float] | None]


def _neighbour(
    key: str, step: int, cited_time: CitedTime
) -> Callable[[Scene, Object], tuple[Object, float, float] | None]:
    """A finder of the shape that is `step` places further when shapes are sorted by `key`."""

    def find(scene: Scene, item: Object) -> tuple[Object, float, float] | None:
        ordered = sorted(scene.objects, key=lambda other: getattr(other, key))
        at = ordered.index(item) + step
        if not 0 <= at < len(ordered):
            return None
        return ordered[at], cited_time(scene, item), cited_time(scene, ordered[at])

    return find


def _occluder(scene: Scene, item: Object) -> tuple[Object, float, float] | None:
    """The only shape that partly occludes another, cited at a whole second if possible."""
    times = np.arange(item.enter_s + 0.5, item.leave_s, 0.5).tolist()
    for time in sorted(times, key=lambda time: time % 1):
        cover, share = scene.hidden_by(item, time)
        if cover and time < cover.leave_s and 0.2 < share < 0.5 and occluders(scene, item) == {cover}:
            return cover, time, time
    return None


def occluders(scene: Scene, item: Object) -> set[Object]:
    """Every shape that at some time occludes more than a tenth of `item`."""
    above = scene.objects[scene.objects.index(item) + 1 :]
    return {
        other
        for other in above
        for time in np.arange(item.enter_s, item.leave_s, 0.25).tolist()
        if replace(scene, objects=(item, other)).hidden_by(item, time)[1] > 0.1
    }


COMES_NEXT = Relation(
    "the next shape to come into view after {}", "Next comes {}.", _neighbour("enter_s", 1, arrival)
)
COMES_BEFORE = Relation(
    "the last shape to come into view before {}", "Before it comes {}.", _neighbour("enter_s", -1, arrival)
)
LEAVES_NEXT = Relation(
    "the next shape to leave after {}", "Next leaves {}.", _neighbour("leave_s", 1, departure)
)
LEAVES_BEFORE = Relation(
    "the last shape to leave before {}", "Before it leaves {}.", _neighbour("leave_s", -1, departure)
)
HIDES = Relation("the shape that hides {}", "It is hidden by {}.", _occluder)
RELATIONS = (COMES_NEXT, COMES_BEFORE, LEAVES_NEXT, LEAVES_BEFORE, HIDES)


def by_order(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The shape that enters or leaves first or last."""
    verb, key, cited_time = (("comes into view", "enter_s", arrival), ("leaves", "leave_s", departure))[
        rng.integers(2)
    ]
    word = ("first", "last")[rng.integers(2)]
    ordered = sorted(scene.objects, key=lambda item: getattr(item, key))
    item = ordered[0 if word == "first" else -1]
    reason = f"{{0}} {verb.removesuffix(' into view')} {word}."
    return Subject(item, f"the shape that {verb} {word}", ((item, cited_time(scene, item)),), reason)


def first_to_come(scene: Scene) -> Subject:
    item = min(scene.objects, key=lambda item: item.enter_s)
    evidence = ((item, arrival(scene, item)),)
    return Subject(item, "the shape that comes into view first", evidence, "{0} comes first.", "order")


def _named(scene: Scene, item: Object) -> Subject:
    """A shape that is named: the start of a chain of steps."""
    return Subject(item, f"the {item.name}", ((item, arrival(scene, item)),), "{0} is in view.", NAMED)


def _step(scene: Scene, subject: Subject, relation: Relation) -> Subject | None:
    """The description extended by one step, `None` if that leads to no shape or to one already cited."""
    found = relation.find(scene, subject.item)
    if found is None:
        return None
    other, cited_s, other_s = found
    if other in [item for item, _ in subject.evidence]:
        return None
    evidence = (*subject.evidence[:-1], (subject.item, cited_s), (other, other_s))
    reason = f"{subject.reason} {relation.sentence.format(f'{{{len(subject.evidence)}}}')}"
    if subject.family == NAMED:
        return Subject(other, relation.phrase.format(subject.phrase), evidence, reason)
    steps = subject.steps.removesuffix(". ") or f"Find {subject.phrase}"
    return Subject(other, "it", evidence, reason, steps=f"{steps}, then {relation.phrase.format('it')}. ")


def chained(steps: int, relations: Sequence[Relation]) -> Family:
    """A family of descriptions of `steps` steps. Longer ones may start with `by_order` instead of a name."""

    def describe(scene: Scene, rng: np.random.Generator) -> Subject | None:
        ordered = by_order(scene, rng) if steps > 1 and rng.random() < 0.5 else None
        if ordered:
            return _extend(scene, ordered, steps - 1, relations, rng)
        starts = (_named(scene, scene.objects[index]) for index in rng.permutation(len(scene.objects)))
        return next(filter(None, (_extend(scene, start, steps, relations, rng) for start in starts)), None)

    return describe


def _extend(
    scene: Scene, subject: Subject, steps: int, relations: Sequence[Relation], rng: np.random.Generator
) -> Subject | None:
    """The description extended by `steps` random steps, each to a shape that is not cited yet."""
    for _ in range(steps):
        candidates = (_step(scene, subject, relations[index]) for index in rng.permutation(len(relations)))
        extended = next(filter(None, candidates), None)
        if extended is None:
            return None
        subject = extended
    return subject


def by_side(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The only shape on one side of a named shape at a given time."""
    for time in rng.permutation(np.arange(1.0, scene.duration_s, 1.0))[:12]:
        seen = [item for item in scene.objects if scene.seen(item, time) and time < item.leave_s]
        if len(seen) < 2:
            continue
        anchor = seen[rng.integers(len(seen))]
        side = list(SIDES)[rng.integers(4)]
        if beside := on_side(seen, anchor, side, time):
            phrase = f"the shape {side} the {anchor.name} at {prompts.seconds(time)} seconds"
            evidence = ((anchor, float(time)), (beside, float(time)))
            return Subject(beside, phrase, evidence, f"{{0}} is in view. It has {{1}} {side} it.")
    return None


def on_side(items: Sequence[Object], anchor: Object, side: str, time_s: float) -> Object | None:
    """The only shape on that side of `anchor`; `None` if there are none or several, or if it is too close."""
    axis, sign = SIDES[side]
    gaps = {item: sign * (item.centre(time_s)[axis] - anchor.centre(time_s)[axis]) for item in items}
    there = [item for item, gap in gaps.items() if item is not anchor and gap > 0]
    return there[0] if len(there) == 1 and gaps[there[0]] > 0.12 else None


SIMPLE: Mapping[str, Family] = {
    "order": by_order,
    "succession": chained(1, (COMES_NEXT, COMES_BEFORE)),
    "departure": chained(1, (LEAVES_NEXT, LEAVES_BEFORE)),
    "hiding": chained(1, (HIDES,)),
    "side": by_side,
}
"""Families of one step. The base model is pretrained on them."""
COMPOSED: Mapping[str, Family] = {
    "two steps": chained(2, RELATIONS),
    "three steps": chained(3, RELATIONS),
}
"""Families of several steps. The base model knows each step, but has not seen them composed."""
FAMILIES: Mapping[str, Family] = {**SIMPLE, **COMPOSED}


def subjects(
    scene: Scene, rng: np.random.Generator, families: Sequence[str] = tuple(FAMILIES)
) -> Iterator[Subject]:
    """Descriptions of shapes, without repetition: 16 rounds over the families in random order."""
    seen: set[str] = set()
    for _ in range(16):
        for family in rng.permutation(families):
            subject = FAMILIES[family](scene, rng)
            if subject is not None and subject.what not in seen:
                seen.add(subject.what)
                yield replace(subject, family=str(family))


def clear_subjects(
    scene: Scene, rng: np.random.Generator, families: Sequence[str] = tuple(FAMILIES)
) -> Iterator[Subject]:
    """The descriptions of `subjects` that fit only one shape and whose evidence is visible."""
    return (subject for subject in subjects(scene, rng, families) if is_clear(scene, subject))


def is_clear(scene: Scene, subject: Subject) -> bool:
    """Whether every cited shape is visible and not just leaving.

    A description by side needs that of every shape in view, since any of them could be on that side.
    """
    evidence = subject.evidence
    if subject.family == "side":
        time = evidence[0][1]
        evidence = tuple((item, time) for item in scene.objects if item.in_view(time))
    return all(scene.seen(item, at) and at < item.leave_s for item, at in evidence)


def options(scene: Scene, item: Object, rng: np.random.Generator) -> tuple[str, str]:
    """Four lettered options and the right letter. Wrong options come from the scene first."""
    mates = [other.name for other in scene.objects if other is not item]
    names = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    while len(mates) < 3:
        name = names[rng.integers(len(names))]
        if name != item.name and name not in mates:
            mates.append(name)
    return _lettered([*mates[:3], item.name], rng)


def direction_options(item: Object, rng: np.random.Generator) -> tuple[str, str]:
    """Four lettered directions of motion and the letter of the true one."""
    truth = item.direction or STAYS
    others = [word for word in (*DIRECTIONS, STAYS) if word != truth]
    return _lettered([*rng.permutation(others)[:3], truth], rng)


def _lettered(choices: Sequence[str], rng: np.random.Generator) -> tuple[str, str]:
    """The choices in random order with letters, and the letter of the last choice."""
    order = rng.permutation(4)
    text = "\n".join(f"{letter}. {choices[index]}" for letter, index in zip(LETTERS, order, strict=True))
    return text, LETTERS[int(np.flatnonzero(order == 3)[0])]


def whole_seconds(item: Object) -> list[int]:
    """The whole seconds at which a shape is in view, both ends included, as in V-STaR."""
    return list(range(ceil(item.enter_s), floor(item.leave_s) + 1))


def visibility_reason(subject: Subject, start: str, end: str) -> str:
    """The reason for a temporal answer: each step with the shape's name, then the times of entry and exit.

    `start` and `end` are inserted as they are.
    """
    steps = insert_claims(subject.reason, [item.name for item, _ in subject.evidence])
    return f"{steps} The {subject.item.name} comes into view at {start} and leaves at {end}."


def insert_claims(reason: str, named: Sequence[str]) -> str:
    """Insert names or claims with their articles: `The` at the start of a sentence, `the` elsewhere."""
    text = reason
    for number, name in enumerate(named):
        placeholder = f"{{{number}}}"
        at = text.index(placeholder)
        article = "The" if at == 0 or text[:at].endswith(". ") else "the"
        text = text.replace(placeholder, f"{article} {name}")
    return text
