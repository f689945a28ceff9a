"""The meaning of a shape's description, derived only from the numbers of a scene."""

import re

import numpy as np

from openo3.core.schema import Box
from openo3.shapes.scene import Object, Scene

ASKED = re.compile(
    r"(?:Find (?P<way>the .+)\. )?(?P<ask>What|When|Where) is (?P<of>it|the .+?)"
    r"(?: in view)?(?:, and what is it)?\?(?: Explain\.)?"
)
HIDES = 0.15
"""A shape that covers this share of another one's box hides it."""
ORDER = re.compile(r"the shape that (comes into view|leaves) (first|last)")
STEP = re.compile(
    r"the (?:next shape to (?P<next>come into view|leave) after"
    r"|last shape to (?P<last>come into view|leave) before"
    r"|shape that (?P<hides>hides)) (?P<of>the .+)"
)
SIDE = re.compile(r"the shape (left of|right of|above|below) the (\w+ \w+) at ([0-9.]+) seconds")
SIDES = {
    "left of": lambda a, b: a[0] < b[0],
    "right of": lambda a, b: a[0] > b[0],
    "above": lambda a, b: a[1] < b[1],
    "below": lambda a, b: a[1] > b[1],
}


def description(question: str) -> str:
    """The shape that a question asks about, its steps put into one another: "the next shape to leave after
    the last shape to come into view before the red ring"."""
    found = ASKED.fullmatch(question.partition("\n")[0])
    assert found, question
    assert (found["of"] == "it") == bool(found["way"]), question
    if not found["way"]:
        return found["of"]
    phrase, *steps = found["way"].split(", then ")
    assert steps, question
    for step in steps:
        assert (step[:4], step[-3:]) == ("the ", " it"), question
        phrase = f"{step.removesuffix('it')}{phrase}"
    return phrase


def fitting(scene: Scene, phrase: str) -> list[Object]:
    """Every shape that a description fits, as a reader understands it. A description may stand in another."""
    if found := ORDER.fullmatch(phrase):
        return extreme(scene.objects, "enter_s" if found[1] == "comes into view" else "leave_s", found[2])
    if found := SIDE.fullmatch(phrase):
        time = float(found[3])
        [anchor] = fitting(scene, f"the {found[2]}")
        there = [item for item in in_view(scene, time) if item is not anchor]
        return [item for item in there if SIDES[found[1]](item.centre(time), anchor.centre(time))]
    if not (found := STEP.fullmatch(phrase)):
        return [item for item in scene.objects if phrase == f"the {item.colour} {item.shape}"]
    [anchor] = fitting(scene, found["of"])
    if found["hides"]:
        above = scene.objects[scene.objects.index(anchor) + 1 :]
        return [item for item in above if most_covered(scene, anchor, item) > HIDES]
    key = "enter_s" if (found["next"] or found["last"]) == "come into view" else "leave_s"
    then = getattr(anchor, key)
    if found["next"]:
        return extreme([item for item in scene.objects if getattr(item, key) > then], key, "first")
    return extreme([item for item in scene.objects if getattr(item, key) < then], key, "last")


def unfolded(phrase: str) -> list[str]:
    """A description and those within it, the innermost first: a name or an order comes first."""
    inner = STEP.fullmatch(phrase)
    return [*(unfolded(inner["of"]) if inner else []), phrase]


def in_view(scene: Scene, time_s: float) -> list[Object]:
    return [item for item in scene.objects if item.enter_s <= time_s <= item.leave_s]


def extreme(items: list[Object], key: str, word: str) -> list[Object]:
    """The shapes that are `first` or `last` by `key`; several if they share a moment."""
    times = [getattr(item, key) for item in items]
    return [item for item in items if getattr(item, key) == (min if word == "first" else max)(times)]


def covered(scene: Scene, item: Object, time_s: float) -> float:
    """The largest share of a shape's box covered by one of the shapes above it."""
    above = [
        other for other in in_view(scene, time_s) if scene.objects.index(other) > scene.objects.index(item)
    ]
    return max((share(scene.box(item, time_s), scene.box(other, time_s)) for other in above), default=0.0)


def most_covered(scene: Scene, item: Object, cover: Object) -> float:
    """The largest share of a shape's box that another one covers, over all the times both are in view."""
    times = np.arange(max(item.enter_s, cover.enter_s), min(item.leave_s, cover.leave_s), 0.25)
    return max((share(scene.box(item, time), scene.box(cover, time)) for time in times), default=0.0)


def share(box: Box, over: Box) -> float:
    width = max(0.0, min(box[2], over[2]) - max(box[0], over[0]))
    height = max(0.0, min(box[3], over[3]) - max(box[1], over[1]))
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]))
