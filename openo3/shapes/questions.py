"""Grounded questions about shapes scenes, with the evidence for their answers.

They name a shape by what it does ("the shape that comes into view after the red circle"), so that answering
takes a step of reasoning, for which there is evidence: an object, at a time, in a box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np

from openo3 import prompts
from openo3.shapes.scene import COLOURS, DIRECTIONS, SHAPES, Object, Scene

SIDES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
LETTERS = "ABCD"
STAYS = "it stays"
NUMBERS = ("no", "one", "two", "three", "four", "five")


@dataclass(frozen=True)
class Subject:
    """A shape described by what it does.

    `phrase` describes it without naming it, `evidence` is the (object, time) pairs that show it, and
    `reason` is the sentence about them, `{0}`, `{1}` standing for the claims in order. `family` is its kind,
    a key of `FAMILIES`.
    """

    item: Object
    phrase: str
    evidence: tuple[tuple[Object, float], ...]
    reason: str
    family: str = ""


def moment(scene: Scene, item: Object) -> float:
    """When to cite a shape: half a second after it came, later if something hides it then."""
    times = np.arange(item.enter_s + 0.5, item.leave_s, 0.5)
    return float(next((time for time in times if scene.seen(item, time)), times[0]))


def by_order(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The shape that comes, or leaves, first or last."""
    verb, key = (("comes into view", "enter_s"), ("leaves", "leave_s"))[rng.integers(2)]
    word = ("first", "last")[rng.integers(2)]
    ordered = sorted(scene.objects, key=lambda item: getattr(item, key))
    item = ordered[0 if word == "first" else -1]
    time = moment(scene, item)
    if key == "leave_s" and scene.seen(item, item.leave_s - 0.5):
        time = item.leave_s - 0.5
    return Subject(item, f"the shape that {verb} {word}", ((item, time),), f"{{0}} {verb} {word}.")


def by_succession(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The shape that comes right after, or right before, a named one."""
    ordered = sorted(scene.objects, key=lambda item: item.enter_s)
    first = int(rng.integers(len(ordered) - 1))
    before, after = ordered[first], ordered[first + 1]
    evidence = ((before, moment(scene, before)), (after, moment(scene, after)))
    if rng.random() < 0.6:
        phrase = f"the next shape that comes into view after the {before.name}"
        return Subject(after, phrase, evidence, "{0} comes first. Next comes {1}.")
    phrase = f"the last shape that comes into view before the {after.name}"
    return Subject(before, phrase, evidence, "{0} comes first. Next comes {1}.")


def by_side(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The only shape on one side of a named one at a moment."""
    for time in rng.permutation(np.arange(0.5, scene.duration_s, 0.5))[:12]:
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
    """The only shape on that side of another one, `None` if there is none, several, or it is hardly there."""
    axis, sign = SIDES[side]
    gaps = {item: sign * (item.centre(time_s)[axis] - anchor.centre(time_s)[axis]) for item in items}
    there = [item for item, gap in gaps.items() if item is not anchor and gap > 0]
    return there[0] if len(there) == 1 and gaps[there[0]] > 0.12 else None


def by_hiding(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The shape that hides a part of a named one."""
    for index in rng.permutation(len(scene.objects)):
        item = scene.objects[index]
        for time in np.arange(item.enter_s + 0.5, item.leave_s, 0.5):
            cover, share = scene.hidden_by(item, time)
            if cover is not None and 0.2 < share < 0.7:
                phrase = f"the shape that hides the {item.name}"
                evidence = ((item, float(time)), (cover, float(time)))
                return Subject(cover, phrase, evidence, "{0} is hidden by {1}.")
    return None


def by_rank(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The shape that comes second or third."""
    ordered = sorted(scene.objects, key=lambda item: item.enter_s)
    rank = int(rng.integers(1, 3))
    if len(ordered) <= rank + 1:  # the last one is asked for as such
        return None
    evidence = tuple((item, moment(scene, item)) for item in ordered[: rank + 1])
    reason = "{0} comes first. Next comes {1}." + (" Next comes {2}." if rank == 2 else "")
    word = ("second", "third")[rank - 1]
    return Subject(ordered[rank], f"the shape that comes into view {word}", evidence, reason)


def by_motion(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The only shape that moves in one way, or the only one that stays where it is."""
    item = scene.objects[rng.integers(len(scene.objects))]
    if sum(other.direction == item.direction for other in scene.objects) > 1:
        return None
    does, where = "stays where it is", "where it was"
    if item.direction:
        does, where = f"moves {item.direction}", f"further {item.direction}"
    evidence = ((item, item.enter_s + 0.5), (item, item.leave_s - 0.5))
    return Subject(item, f"the only shape that {does}", evidence, f"{{0}} is in view. Next {{1}} is {where}.")


def by_stay(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The shape that is in view longest, by a second at least."""
    shorter, item = sorted(scene.objects, key=lambda item: item.leave_s - item.enter_s)[-2:]
    if item.leave_s - item.enter_s < shorter.leave_s - shorter.enter_s + 1:
        return None
    evidence = ((item, item.enter_s + 0.5), (item, item.leave_s - 0.5))
    return Subject(
        item, "the shape that is in view longest", evidence, "{0} comes into view. Next {1} leaves."
    )


def by_size(scene: Scene, rng: np.random.Generator) -> Subject | None:
    """The largest or the smallest shape, if there is no doubt."""
    ordered = sorted(scene.objects, key=lambda item: item.radius)
    word, item, other = (("smallest", *ordered[:2]), ("largest", *ordered[:-3:-1]))[rng.integers(2)]
    if not 0.8 < item.radius / other.radius < 1.25:
        return Subject(item, f"the {word} shape", ((item, moment(scene, item)),), f"{{0}} is the {word}.")
    return None


FAMILIES: dict[str, Callable[[Scene, np.random.Generator], Subject | None]] = {
    "order": by_order,
    "succession": by_succession,
    "side": by_side,
    "hiding": by_hiding,
    "rank": by_rank,
    "motion": by_motion,
    "stay": by_stay,
    "size": by_size,
}


def subjects(
    scene: Scene, rng: np.random.Generator, families: Sequence[str] = tuple(FAMILIES)
) -> Iterator[Subject]:
    """Describable shapes, an endless stream over the families in random order, without repetition."""
    said: set[str] = set()
    for _ in range(16):
        for family in rng.permutation(families):
            subject = FAMILIES[family](scene, rng)
            if subject is not None and subject.phrase not in said:
                said.add(subject.phrase)
                yield replace(subject, family=str(family))


def clear_subjects(scene: Scene, rng: np.random.Generator) -> Iterator[Subject]:
    """Those of `subjects` that only one shape fits, and whose evidence is there to see."""
    return (subject for subject in subjects(scene, rng) if is_clear(scene, subject))


def is_clear(scene: Scene, subject: Subject) -> bool:
    """Whether there is no doubt: nothing cited is leaving, half hidden, or hidden by two shapes in turn."""
    evidence = subject.evidence
    if any(time >= item.leave_s for item, time in evidence):
        return False
    shown, time = evidence[0]
    if subject.family == "hiding":
        return hiders(scene, shown) == {subject.item}
    if subject.family == "side":  # what is there counts, seen or not
        evidence = tuple((item, time) for item in scene.objects if item.in_view(time))
    return all(scene.seen(item, at) and at < item.leave_s for item, at in evidence)


def hiders(scene: Scene, item: Object) -> set[Object]:
    """Every shape that at some time hides a tenth of another one or more."""
    above = scene.objects[scene.objects.index(item) + 1 :]
    return {
        other
        for other in above
        for time in np.arange(item.enter_s, item.leave_s, 0.25)
        if replace(scene, objects=(item, other)).hidden_by(item, time)[1] > 0.1
    }


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


def whereabouts(item: Object, start: str, end: str) -> str:
    """The reason for a temporal answer, its times as they are to be written."""
    return f"It is the {item.name}. It comes into view at {start} and leaves at {end}."


def put_in(reason: str, named: Sequence[str]) -> str:
    """What is named put in, each with its article: `The` where a sentence begins, `the` elsewhere."""
    text = reason
    for number, name in enumerate(named):
        hole = f"{{{number}}}"
        at = text.index(hole)
        article = "The" if at == 0 or text[:at].endswith(". ") else "the"
        text = text.replace(hole, f"{article} {name}")
    return text
