"""What the base is taught is true of the scene, in the form that was asked for, and never the grammar."""

import re

import numpy as np
import pytest

from openo3.evidence import read_where
from openo3.geometry import PERMILLE
from openo3.shapes.plain import (
    MARKS,
    PLAIN,
    plain_image,
    plain_marked,
    plain_questions,
    plain_when,
    plain_where,
)
from openo3.shapes.scene import sample_scene

SCENES = [sample_scene(np.random.default_rng([11, index])) for index in range(80)]
TAG = re.compile(r"</?(?:think|answer|obj|box|t)>")


def test_no_lesson_shows_the_grammar() -> None:
    rng = np.random.default_rng(0)
    asked = [pair for scene in SCENES for pair in plain_questions(scene, 12, rng)]
    asked += [pair for scene in SCENES if (pair := plain_image(scene, scene.objects[0].enter_s + 0.5, rng))]
    assert len({question for question, _ in asked}) > 600
    assert not [pair for pair in asked if TAG.search("".join(pair))]


def test_every_kind_is_asked() -> None:
    rng = np.random.default_rng(0)
    for _, ask in PLAIN:
        assert all(answer for _, answer in (ask(scene, rng) for scene in SCENES))


def test_an_answer_is_marked_as_its_question_says() -> None:
    rng = np.random.default_rng(1)
    for scene in SCENES:
        question, answer = plain_marked(scene, rng)
        told = re.search(r"Reason inside (\S+), then give the answer inside (\S+)\. ", question)
        pairs = {"".join(pair): pair for pair in MARKS}
        (opening, closing), (before, behind) = pairs[told[1]], pairs[told[2]]
        assert answer.startswith(opening)
        assert f"{closing}{before}" in answer
        assert answer.endswith(behind)
        time = re.search(r"at(\S+?)seconds(\S+?)s\.|each time as (\S+?)seconds(\S+?)s\.", question)
        around = [mark for mark in time.groups() if mark]
        assert re.search(re.escape(around[0]) + r"\d+\.\d" + re.escape(around[1]) + "s", answer)


@pytest.mark.parametrize("seed", range(3))
def test_places_and_times_are_the_scenes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for scene in SCENES:
        named = {item.name: item for item in scene.objects}
        question, answer = plain_where(scene, rng)
        item = named[re.match(r"Where is the (\w+ \w+)\?", question)[1]]
        for second, boxes in read_where(answer, PERMILLE).items():
            assert np.allclose(boxes[0], scene.box(item, int(second)), atol=1e-3)
        question, answer = plain_when(scene, rng)
        item = named[re.match(r"When is the (\w+ \w+) in view\?", question)[1]]
        assert [float(time) for time in re.findall(r"[\d.]+", answer)] == [item.enter_s, item.leave_s]
