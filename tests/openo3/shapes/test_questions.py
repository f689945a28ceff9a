"""The described shape fits its description, as checked from the numbers of the scene alone."""

import re
from itertools import islice

import numpy as np
import pytest

from openo3.shapes.questions import (
    COMPOSED,
    FAMILIES,
    SIMPLE,
    Subject,
    arrival,
    clear_subjects,
    departure,
    direction_options,
    insert_claims,
    options,
    subjects,
    visibility_reason,
    whole_seconds,
)
from openo3.shapes.scene import COLOURS, SHAPES, Object, Scene, sample_object, sample_scene
from tests.openo3.shapes.descriptions import (
    ORDER,
    STEP,
    covered,
    description,
    fitting,
    most_covered,
    unfolded,
)

SCENES = [sample_scene(np.random.default_rng([7, index])) for index in range(80)]
SUBJECTS = [
    (scene, subject)
    for index, scene in enumerate(SCENES)
    for subject in islice(clear_subjects(scene, np.random.default_rng(index)), 20)
]
CHAINED = [pair for pair in SUBJECTS if pair[1].family != "side"]
SAID = {
    "the next shape to come into view after": "Next comes",
    "the last shape to come into view before": "Before it comes",
    "the next shape to leave after": "Next leaves",
    "the last shape to leave before": "Before it leaves",
    "the shape that hides": "It is hidden by",
}


def of_family(family: str) -> list[tuple[Scene, Subject]]:
    return [(scene, subject) for scene, subject in SUBJECTS if subject.family == family]


def cited(subject: Subject) -> list[Object]:
    return [item for item, _ in subject.evidence]


def placeholders(reason: str) -> list[str]:
    return re.findall(r"\{(.*?)\}", reason)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_occurs(family: str):
    assert len(of_family(family)) > 40
    assert (family in SIMPLE) != (family in COMPOSED)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_subject_fits_its_description(family: str):
    for scene, subject in of_family(family):
        assert fitting(scene, description(subject.what)) == [subject.item], (scene, subject)


def test_a_question_of_one_step_is_a_noun_phrase():
    simple = [subject for _, subject in SUBJECTS if subject.family in SIMPLE]
    for subject in simple:
        assert not subject.steps
        assert subject.phrase.startswith("the ")
        assert subject.what == f"What is {subject.phrase}?"
        assert subject.when == f"When is {subject.phrase} in view?"
        assert subject.when_and_what == f"When is {subject.phrase} in view, and what is it?"
    assert {"shape that", "next shape", "last shape"} <= {" ".join(s.phrase.split()[1:3]) for s in simple}


def test_a_question_of_several_steps_gives_the_steps_first():
    relation = r"the (?:next|last) shape to (?:come into view|leave) (?:after|before)|the shape that hides"
    name = rf"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
    start = rf"(?:the shape that (?:comes into view|leaves) (?:first|last)|(?:{relation}) the {name})"
    way = re.compile(rf"Find {start}((?:, then (?:{relation}) it)+)\. ")
    steps = set()
    for _, subject in of_family("two steps") + of_family("three steps"):
        assert subject.phrase == "it"
        found = way.fullmatch(subject.steps)
        assert found, subject.steps
        steps.add(found[1].count(", then "))
        assert subject.what == f"{subject.steps}What is it?"
        assert subject.when == f"{subject.steps}When is it in view?"
        assert subject.when_and_what == f"{subject.steps}When is it in view, and what is it?"
    assert steps == {1, 2}


def test_what_and_when_questions_have_the_same_subject():
    for _, subject in SUBJECTS:
        assert description(subject.what) == description(subject.when) == description(subject.when_and_what)


def test_each_relation_occurs_inside_a_description_and_outside():
    phrases = [description(subject.what) for _, subject in CHAINED]
    for start in SAID:
        assert [phrase for phrase in phrases if phrase.startswith(start) and phrase.count("shape") > 1]
        assert [phrase for phrase in phrases if f" {start}" in phrase]
    starts = {unfolded(description(s.what))[0] for _, s in CHAINED if s.family in COMPOSED}
    orders = {start for start in starts if ORDER.fullmatch(start)}
    assert len(orders) == 4
    assert len(starts - orders) > 20


@pytest.mark.parametrize(
    ("family", "steps"),
    [("order", 1), ("succession", 1), ("departure", 1), ("hiding", 1), ("two steps", 2), ("three steps", 3)],
)
def test_a_chain_has_its_familys_steps(family: str, steps: int):
    for _, subject in of_family(family):
        start, *others = unfolded(description(subject.what))
        assert bool(ORDER.fullmatch(start)) + len(others) == steps


def test_a_chain_cites_the_shape_of_each_step_in_order():
    for scene, subject in CHAINED:
        assert [fitting(scene, phrase) for phrase in unfolded(description(subject.what))] == [
            [item] for item in cited(subject)
        ]


def test_a_chain_states_each_step_in_order():
    for _, subject in CHAINED:
        start, *steps = unfolded(description(subject.what))
        first, *others = re.findall(r"[^.]+\.", subject.reason)
        if order := ORDER.fullmatch(start):
            assert first == f"{{0}} {order[1].split()[0]} {order[2]}."
        else:
            assert first == "{0} is in view."
        assert others == [
            f" {SAID[step.removesuffix(STEP.fullmatch(step)['of']).strip()]} {{{number}}}."
            for number, step in enumerate(steps, start=1)
        ]


def test_evidence_is_in_view_and_ends_with_the_subject():
    for scene, subject in SUBJECTS:
        assert subject.item is cited(subject)[-1]
        for item, time in subject.evidence:
            assert item.enter_s <= time < item.leave_s
            assert covered(scene, item, time) < 0.5, (scene, subject)


def test_a_reason_has_a_placeholder_for_each_claim_in_order():
    for _, subject in SUBJECTS:
        assert placeholders(subject.reason) == [str(number) for number in range(len(subject.evidence))]


def test_no_shape_is_cited_twice():
    for scene, subject in SUBJECTS:
        assert len(set(cited(subject))) == len(cited(subject)), (scene, subject)


def test_a_shape_and_its_only_occluder_are_cited_during_the_occlusion():
    halves = 0
    for scene, subject in of_family("hiding"):
        (item, time), (cover, at) = subject.evidence
        assert time == at
        assert 0.2 < covered(scene, item, time) < 0.5
        halves += time % 1 > 0
        others = [other for other in scene.objects if other not in (item, cover)]
        above = [other for other in others if scene.objects.index(other) > scene.objects.index(item)]
        assert all(most_covered(scene, item, other) <= 0.15 for other in above)
    assert halves < len(of_family("hiding")) / 2


def test_a_side_is_cited_at_the_time_of_its_question():
    for _, subject in of_family("side"):
        time = float(re.search(r"at ([0-9.]+) seconds", subject.phrase)[1])
        assert [at for _, at in subject.evidence] == [time, time]


def test_entries_and_exits_are_cited_at_nearby_whole_seconds():
    late = 0
    for scene in SCENES:
        for item in scene.objects:
            whole = [s for s in range(60) if item.enter_s + 0.25 <= s <= item.leave_s - 0.25]
            clear = [second for second in whole if covered(scene, item, second) < 0.5]
            assert arrival(scene, item) == (clear or whole)[0]
            assert departure(scene, item) == (clear or whole[::-1])[-1 if clear else 0]
            late += clear[:1] != whole[:1]
    assert late > 5


def test_no_description_names_its_subject():
    for _, subject in SUBJECTS:
        assert subject.item.name not in subject.what
        assert not [item for item in cited(subject)[1:] if item.name in subject.what]


@pytest.mark.parametrize("families", [SIMPLE, COMPOSED], ids=["simple", "composed"])
def test_only_requested_families_occur_and_no_question_repeats(families: dict):
    came = set()
    for number, scene in enumerate(SCENES[:20]):
        found = list(subjects(scene, np.random.default_rng(number), tuple(families)))
        assert len({subject.what for subject in found}) == len(found)
        came |= {subject.family for subject in found}
    assert came == set(families)


def test_a_scene_at_scale_two_is_twice_as_long_with_twice_as_many_shapes():
    pairs = [[sample_scene(np.random.default_rng([3, n]), scale=s) for s in (1, 2)] for n in range(120)]
    longer = [large.duration_s / small.duration_s for small, large in pairs]
    assert np.mean(np.equal(longer, 2.0)) > 0.95  # else nothing fitted beside the first shape
    assert np.mean(longer) == pytest.approx(2.0, abs=0.1)
    assert max(large.duration_s for _, large in pairs) > 60
    counts = [[len(scene.objects) for scene in pair] for pair in pairs]
    small, large = np.mean(counts, axis=0)
    assert large / small == pytest.approx(2.0, abs=0.3)
    for _, scene in pairs:
        for key in ("enter_s", "leave_s"):
            times = sorted(getattr(item, key) for item in scene.objects)
            assert 0 <= times[0] < times[-1] <= scene.duration_s
            assert np.diff(times).min() >= 1.0
        assert len({item.name for item in scene.objects}) == len(scene.objects)


@pytest.mark.parametrize("duration_s", [6.0, 13.0, 45.0, 56.0, 56.5, 90.0, 360.0])
def test_a_shape_stays_two_to_eight_seconds_in_a_clip_of_any_length(duration_s: float):
    rng = np.random.default_rng(6)
    stays = []
    for _ in range(200):
        item = sample_object(rng, (160, 120), duration_s, "red ring")
        assert 0 <= item.enter_s < item.leave_s <= duration_s
        stays.append(item.leave_s - item.enter_s)
    assert min(max(2.0, duration_s / 7), 8.0) <= min(stays) <= max(stays) <= 8.0
    assert len(set(stays)) > 1 or duration_s > 52  # there the shortest stay is the longest


def test_descriptions_hold_in_larger_scenes_too():
    families = set()
    for number in range(40):
        rng = np.random.default_rng([4, number])
        scene = sample_scene(rng, scale=2)
        for subject in islice(clear_subjects(scene, rng), 16):
            assert fitting(scene, description(subject.what)) == [subject.item], (scene, subject)
            families.add(subject.family)
    assert families == set(FAMILIES)


def test_exactly_one_option_is_right():
    rng = np.random.default_rng(0)
    for scene, subject in SUBJECTS[:200]:
        text, letter = options(scene, subject.item, rng)
        assert f"{letter}. {subject.item.name}" in text.split("\n")
        assert len({line[3:] for line in text.split("\n")}) == 4
        text, letter = direction_options(subject.item, rng)
        truth = subject.item.direction or "it stays"
        assert [line for line in text.split("\n") if line[3:] == truth] == [f"{letter}. {truth}"]


def test_whole_seconds_are_those_within():
    for _, subject in SUBJECTS[:200]:
        item = subject.item
        assert whole_seconds(item) == [second for second in range(60) if item.in_view(second)]


def test_claims_are_inserted_with_their_articles():
    reason = "{0} and {1} are in view. Next leaves {2}. {3} leaves last."
    assert insert_claims(reason, ["a", "b", "c", "d"]) == (
        "The a and the b are in view. Next leaves the c. The d leaves last."
    )


def test_whereabouts_tell_the_steps_by_name_and_then_the_times():
    for scene, subject in SUBJECTS[:200]:
        name = subject.item.name
        *steps, last = re.findall(r"[^.]+\.", visibility_reason(subject, "S", "E"))
        assert last == f" The {name} comes into view at S and leaves at E."
        told = re.findall(r"[Tt]he (\w+ \w+)", "".join(steps))
        named = [words for words in told if words in {item.name for item in scene.objects}]
        assert named == [item.name for item in cited(subject)]
        assert all(sentence.strip()[0].isupper() for sentence in steps)
