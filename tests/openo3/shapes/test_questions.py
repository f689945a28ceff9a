"""The described shape is the one that fits its description, found again from the scene's numbers alone."""

import re
from itertools import islice

import numpy as np
import pytest

from openo3.schema import Box
from openo3.shapes.questions import (
    FAMILIES,
    Subject,
    clear_subjects,
    direction_options,
    options,
    whole_seconds,
)
from openo3.shapes.scene import Object, Scene, sample_scene

SCENES = [sample_scene(np.random.default_rng([7, index])) for index in range(60)]
SUBJECTS = [
    (scene, subject)
    for index, scene in enumerate(SCENES)
    for subject in islice(clear_subjects(scene, np.random.default_rng(index)), 12)
]
NAME = r"the (\w+ \w+)"


def fitting(scene: Scene, phrase: str) -> list[Object]:
    """Every shape that a description fits, as a reader understands it."""
    named = {item.name: item for item in scene.objects}
    if found := re.fullmatch(r"the shape that (comes into view|leaves) (first|last)", phrase):
        times = {item: item.leave_s if found[1] == "leaves" else item.enter_s for item in scene.objects}
        end = (min if found[2] == "first" else max)(times.values())
        return [item for item, time in times.items() if time == end]
    if found := re.fullmatch(rf"the (next|last) shape that comes into view (?:after|before) {NAME}", phrase):
        anchor = named[found[2]].enter_s
        sign = 1 if found[1] == "next" else -1
        gaps = {item: sign * (item.enter_s - anchor) for item in scene.objects}
        least = min(gap for gap in gaps.values() if gap > 0)
        return [item for item, gap in gaps.items() if gap == least]
    if found := re.fullmatch(
        rf"the shape (left of|right of|above|below) {NAME} at ([0-9.]+) seconds", phrase
    ):
        time = float(found[3])
        (x, y), there = named[found[2]].centre(time), [o for o in scene.objects if o.in_view(time)]
        beside = {"left of": lambda a, b: a < x, "right of": lambda a, b: a > x}
        beside |= {"above": lambda a, b: b < y, "below": lambda a, b: b > y}
        return [o for o in there if o.name != found[2] and beside[found[1]](*o.centre(time))]
    if found := re.fullmatch(r"the shape that comes into view (second|third)", phrase):
        return [sorted(scene.objects, key=lambda o: o.enter_s)[1 if found[1] == "second" else 2]]
    if found := re.fullmatch(r"the only shape that (?:moves (\w+)|stays where it is)", phrase):
        x_y = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1), None: (0, 0)}[found[1]]
        return [o for o in scene.objects if tuple(np.sign(o.velocity)) == x_y]
    if found := re.fullmatch(r"the (largest|smallest) shape|the shape that is in view longest", phrase):
        sizes = {o: o.radius if found[1] else o.leave_s - o.enter_s for o in scene.objects}
        end = (min if found[1] == "smallest" else max)(sizes.values())
        return [o for o, size in sizes.items() if size == end]
    found = re.fullmatch(rf"the shape that hides {NAME}", phrase)
    item = named[found[1]]
    return [o for o in scene.objects[scene.objects.index(item) + 1 :] if most_covered(scene, item, o) > 0.15]


def most_covered(scene: Scene, item: Object, cover: Object) -> float:
    """The largest share of a shape's box that another one covers, over all the times both are in view."""
    times = np.arange(max(item.enter_s, cover.enter_s), min(item.leave_s, cover.leave_s), 0.25)
    return max((share(scene.box(item, time), scene.box(cover, time)) for time in times), default=0.0)


def share(box: Box, over: Box) -> float:
    width = max(0.0, min(box[2], over[2]) - max(box[0], over[0]))
    height = max(0.0, min(box[3], over[3]) - max(box[1], over[1]))
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]))


def test_every_family_occurs():
    assert {subject.family for _, subject in SUBJECTS} == set(FAMILIES)
    assert len(SUBJECTS) > 400


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_subject_fits_its_description(family: str):
    for scene, subject in SUBJECTS:
        if subject.family == family:
            assert fitting(scene, subject.phrase) == [subject.item], (scene, subject)


def test_evidence_is_in_view_and_cites_the_subject():
    for _, subject in SUBJECTS:
        assert subject.item in [item for item, _ in subject.evidence]
        assert all(item.enter_s <= time < item.leave_s for item, time in subject.evidence)
        assert len(subject.evidence) == sum(f"{{{n}}}" in subject.reason for n in range(3))


def test_no_description_names_its_subject():
    assert not [subject for _, subject in SUBJECTS if subject.item.name in subject.phrase]


def test_one_option_is_right():
    rng = np.random.default_rng(0)
    for scene, subject in SUBJECTS[:200]:
        text, letter = options(scene, subject.item, rng)
        assert f"{letter}. {subject.item.name}" in text.split("\n")
        assert len({line[3:] for line in text.split("\n")}) == 4
        text, letter = direction_options(subject.item, rng)
        truth = subject.item.direction or "it stays"
        assert [line for line in text.split("\n") if line[3:] == truth] == [f"{letter}. {truth}"]


def test_whole_seconds_are_those_within():
    subject: Subject
    for _, subject in SUBJECTS[:200]:
        item = subject.item
        assert whole_seconds(item) == [second for second in range(60) if item.in_view(second)]
