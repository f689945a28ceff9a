"""Grounded questions about shapes scenes, with the evidence for their answers.

A question describes a shape by what it does. The simple ones take one step ("What is the shape that leaves
first?"). The composed ones take two or three ("Find the next shape to come into view after the red circle,
then the next shape to leave after it. What is it?"). Each step has evidence, an object in a box at a time,
and a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np

from openo3.core.prompts import seconds
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

    `phrase` describes it without naming it; where it takes several steps, `way` is the sentence that tells
    them and `phrase` is "it". `evidence` is the (object, time) pairs that show it, one for each step, and
    `reason` is the sentences about them, `{0}`, `{1}` standing for the claims in order. `family` is its
    kind, a key of `FAMILIES`.
    """

    item: Object
    phrase: str
    evidence: tuple[tuple[Object, float], ...]
    reason: str
    family: str = ""
    way: str = ""

    @property
    def what(self) -> str:
        return f"{self.way}What is {self.phrase}?"

    @property
    def when(self) -> str:
        return f"{self.way}When is {self.phrase} in view?"

    @property
    def when_and_what(self) -> str:
        return f"{self.way}When is {self.phrase} in view, and what is it?"


NAMED = "named"
"""The family of a shape that is called by its name: no question asks for it."""
Family = Callable[[Scene, np.random.Generator], Subject | None]
Moment = Callable[[Scene, Object], float]


def arrival(scene: Scene, item: Object) -> float:
    """When to cite a shape that comes: the first whole second at which it is well in view, if any."""
    return _first_seen(scene, item, _citable(item))


def departure(scene: Scene, item: Object) -> float:
    """When to cite a shape that leaves: the last whole second at which it is well in view, if any."""
    return _first_seen(scene, item, _citable(item)[::-1])


def _citable(item: Object) -> list[float]:
    """Times to cite a shape: whole seconds, which benchmarks ask about, or what a very short stay allows."""
    whole = [float(s) for s in range(ceil(item.enter_s + 0.25), floor(item.leave_s - 0.25) + 1)]
    return whole or [(item.enter_s + item.leave_s) / 2]


def _first_seen(scene: Scene, item: Object, times: Sequence[float]) -> float:
    return next((time for time in times if scene.seen(item, time)), times[0])


@dataclass(frozen=True)
class Relation:
    """One step from a shape to another. `phrase` describes the other with `{}` for the first, `sentence`
    says it with `{}` for the other's claim, `find` gives the other and when each of the two is cited, if
    there is one.
    """

    phrase: str
    sentence: str
    find: Callable[[Scene, Object], tuple[Object, float, float] | None]


def _neighbour(
    key: str, step: int, moment: Moment
) -> Callable[[Scene, Object], tuple[Object, float, float] | None]:
    """The shape `step` places further in the order of `key`."""

    def find(scene: Scene, item: Object) -> tuple[Object, float, float] | None:
        ordered = sorted(scene.objects, key=lambda other: getattr(other, key))
        at = ordered.index(item) + step
        if not 0 <= at < len(ordered):
            return None
        return ordered[at], moment(scene, item), moment(scene, ordered[at])

    return find


def _hider(scene: Scene, item: Object) -> tuple[Object, float, float] | None:
    """The only shape that hides a part of another one, cited at a whole second if it does so at one."""
    times = np.arange(item.enter_s + 0.5, item.leave_s, 0.5)
    for time in sorted(times, key=lambda time: time % 1):
        cover, share = scene.hidden_by(item, time)
        if cover and time < cover.leave_s and 0.2 < share < 0.5 and hiders(scene, item) == {cover}:
            return cover, float(time), float(time)
    return None


def hiders(scene: Scene, item: Object) -> set[Object]:
    """Every shape that at some time hides a tenth of another one or more."""
    above = scene.objects[scene.objects.index(item) + 1 :]
    return {
        other
        for other in above
        for time in np.arange(item.enter_s, item.leave_s, 0.25)
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
HIDES = Relation("the shape that hides {}", "It is hidden by {}.", _hider)
RELATIONS = (COMES_NEXT, COMES_BEFORE, LEAVES_NEXT, LEAVES_BEFORE, HIDES)


def by_order(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The shape that comes, or leaves, first or last."""
    verb, key, moment = (("comes into view", "enter_s", arrival), ("leaves", "leave_s", departure))[
        rng.integers(2)
    ]
    word = ("first", "last")[rng.integers(2)]
    ordered = sorted(scene.objects, key=lambda item: getattr(item, key))
    item = ordered[0 if word == "first" else -1]
    reason = f"{{0}} {verb.removesuffix(' into view')} {word}."
    return Subject(item, f"the shape that {verb} {word}", ((item, moment(scene, item)),), reason)


def first_to_come(scene: Scene) -> Subject:
    item = min(scene.objects, key=lambda item: item.enter_s)
    evidence = ((item, arrival(scene, item)),)
    return Subject(item, "the shape that comes into view first", evidence, "{0} comes first.", "order")


def _named(scene: Scene, item: Object) -> Subject:
    """A shape called by its name: where a chain of steps begins."""
    return Subject(item, f"the {item.name}", ((item, arrival(scene, item)),), "{0} is in view.", NAMED)


def _step(scene: Scene, subject: Subject, relation: Relation) -> Subject | None:
    """The description one step further, `None` where the step leads nowhere or back."""
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
    way = subject.way.removesuffix(". ") or f"Find {subject.phrase}"
    return Subject(other, "it", evidence, reason, way=f"{way}, then {relation.phrase.format('it')}. ")


def chained(steps: int, relations: Sequence[Relation]) -> Family:
    """A family of so many steps. Several begin with a name, or with an order as the first step."""

    def describe(scene: Scene, rng: np.random.Generator) -> Subject | None:
        ordered = by_order(scene, rng) if steps > 1 and rng.random() < 0.5 else None
        if ordered:
            return _walk(scene, ordered, steps - 1, relations, rng)
        starts = (_named(scene, scene.objects[index]) for index in rng.permutation(len(scene.objects)))
        return next(filter(None, (_walk(scene, start, steps, relations, rng) for start in starts)), None)

    return describe


def _walk(
    scene: Scene, subject: Subject, steps: int, relations: Sequence[Relation], rng: np.random.Generator
) -> Subject | None:
    """The description so many steps further, each step drawn among those that lead somewhere new."""
    for _ in range(steps):
        moves = (_step(scene, subject, relations[index]) for index in rng.permutation(len(relations)))
        subject = next(filter(None, moves), None)
        if subject is None:
            return None
    return subject


def by_side(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The only shape on one side of a named one at a moment."""
    for time in rng.permutation(np.arange(1.0, scene.duration_s, 1.0))[:12]:
        seen = [item for item in scene.objects if scene.seen(item, time) and time < item.leave_s]
        if len(seen) < 2:
            continue
        anchor = seen[rng.integers(len(seen))]
        side = list(SIDES)[rng.integers(4)]
        if beside := on_side(seen, anchor, side, time):
            phrase = f"the shape {side} the {anchor.name} at {seconds(time)} seconds"
            evidence = ((anchor, float(time)), (beside, float(time)))
            return Subject(beside, phrase, evidence, f"{{0}} is in view. It has {{1}} {side} it.")
    return None


def on_side(items: Sequence[Object], anchor: Object, side: str, time_s: float) -> Object | None:
    """The only shape on that side of another one, `None` if there is none, several, or it is hardly there."""
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
"""One step each. The base model is asked about these."""
COMPOSED: Mapping[str, Family] = {
    "two steps": chained(2, RELATIONS),
    "three steps": chained(3, RELATIONS),
}
"""They are new to the base model, which knows each step but not how to take several."""
FAMILIES: Mapping[str, Family] = {**SIMPLE, **COMPOSED}


def subjects(
    scene: Scene, rng: np.random.Generator, families: Sequence[str] = tuple(FAMILIES)
) -> Iterator[Subject]:
    """Describable shapes, an endless stream over the families in random order, without repetition."""
    said: set[str] = set()
    for _ in range(16):
        for family in rng.permutation(families):
            subject = FAMILIES[family](scene, rng)
            if subject is not None and subject.what not in said:
                said.add(subject.what)
                yield replace(subject, family=str(family))


def clear_subjects(
    scene: Scene, rng: np.random.Generator, families: Sequence[str] = tuple(FAMILIES)
) -> Iterator[Subject]:
    """Those of `subjects` that only one shape fits, and whose evidence is there to see."""
    return (subject for subject in subjects(scene, rng, families) if is_clear(scene, subject))


def is_clear(scene: Scene, subject: Subject) -> bool:
    """Whether nothing that is cited is leaving or half hidden, nor anything else that a side depends on."""
    evidence = subject.evidence
    if subject.family == "side":  # what is there counts, seen or not
        time = evidence[0][1]
        evidence = tuple((item, time) for item in scene.objects if item.in_view(time))
    return all(scene.seen(item, at) and at < item.leave_s for item, at in evidence)


def options(scene: Scene, item: Object, rng: np.random.Generator) -> tuple[str, str]:
    """Four lettered choices, scene mates first among the wrong ones, and the right letter."""
    mates = [other.name for other in scene.objects if other is not item]
    names = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    while len(mates) < 3:
        name = names[rng.integers(len(names))]
        if name != item.name and name not in mates:
            mates.append(name)
    return _lettered([*mates[:3], item.name], rng)


def direction_options(item: Object, rng: np.random.Generator) -> tuple[str, str]:
    """Four lettered ways to move, among them the true one, and its letter."""
    truth = item.direction or STAYS
    others = [word for word in (*DIRECTIONS, STAYS) if word != truth]
    return _lettered([*rng.permutation(others)[:3], truth], rng)


def _lettered(choices: Sequence[str], rng: np.random.Generator) -> tuple[str, str]:
    """The choices in random order, and the letter of the last one."""
    order = rng.permutation(4)
    text = "\n".join(f"{letter}. {choices[index]}" for letter, index in zip(LETTERS, order, strict=True))
    return text, LETTERS[int(np.flatnonzero(order == 3)[0])]


def whole_seconds(item: Object) -> list[int]:
    """The whole seconds at which a shape is in view, ends included, as V-STaR counts them."""
    return list(range(ceil(item.enter_s), floor(item.leave_s) + 1))


def whereabouts(subject: Subject, start: str, end: str) -> str:
    """The reason for a temporal answer: the steps to the shape, by name, then when it is in view, the times
    as they are to be written."""
    steps = put_in(subject.reason, [item.name for item, _ in subject.evidence])
    return f"{steps} The {subject.item.name} comes into view at {start} and leaves at {end}."


def put_in(reason: str, named: Sequence[str]) -> str:
    """What is named put in, each with its article: `The` where a sentence begins, `the` elsewhere."""
    text = reason
    for number, name in enumerate(named):
        hole = f"{{{number}}}"
        at = text.index(hole)
        article = "The" if at == 0 or text[:at].endswith(". ") else "the"
        text = text.replace(hole, f"{article} {name}")
    return text
