"""The validation of the audit: AUC by hand, and cases that hold what they say."""

import numpy as np
import pytest
from PIL import Image

from bench import audit
from openo3.audit.run import Answer
from openo3.core.evidence import Claim, parse_completion
from openo3.media.frame_store import Frame
from openo3.model.encode import Prompt
from openo3.model.necessity import Hiding, Place, PlacedClaim, place_of
from openo3.shapes.benchmarks import VSTAR_FAMILIES, vstar_records
from openo3.shapes.clips import Clip
from openo3.shapes.config import ShapesConfig
from openo3.shapes.questions import clear_subjects

HIDING = Hiding()


def test_auc_by_hand_with_ties_and_weights() -> None:
    scores, positive = np.array([4.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert audit.auc(scores, positive, np.ones(4)) == pytest.approx((2 + 1.5) / 4)
    assert audit.auc(scores, positive, np.array([1.0, 0, 1, 1])) == 1.0
    assert audit.auc(-scores, positive, np.ones(4)) == pytest.approx(1 - 3.5 / 4)
    assert np.isnan(audit.auc(scores, positive, np.array([1.0, 1, 0, 0])))


def test_the_interval_holds_the_value_and_resamples_videos() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(200) % 2 == 0
    scores = rng.normal(size=200) + positive
    one_each = audit.auc_interval(scores, positive, [str(k) for k in range(200)])
    shared = audit.auc_interval(scores, positive, [str(k // 50) for k in range(200)])
    assert one_each.low < one_each.value < one_each.high
    assert one_each.value == shared.value
    assert one_each != shared


def made(index: int):
    """A clip's second question with an answer that cites its evidence exactly, and its cases."""
    world = ShapesConfig(benchmark_videos=8, records_per_video=2)
    clip = Clip.sample(world.seed, "vstar", index)
    record = vstar_records(clip, 2)[1]
    subject = audit.subject_of(record, world)
    scene = audit.scene_of(record, world)
    times = np.arange(0, scene.duration_s, 1.0)
    frames = tuple(Frame(Image.new("RGB", (128, 96)), float(time), False) for time in times)
    claims = []
    for item, time_s in subject.evidence:
        claim = Claim(item.name, (scene.box(item, time_s),), time_s)
        place = place_of(claim, frames, scene.duration_s, HIDING)
        assert isinstance(place, Place)
        claims.append(PlacedClaim(claim, place, len(claims)))
    said = parse_completion("<think></think><answer>it</answer>")
    answer = Answer(0, "what", Prompt(frames, scene.duration_s, ""), said, claims, [])
    rng = np.random.default_rng(0)
    return subject, scene, answer, [*audit.cases(answer, subject, scene, True, record["vid"], HIDING, rng)]


@pytest.mark.parametrize("index", range(4))
def test_exact_claims_turn_and_injected_ones_do_not(index: int) -> None:
    subject, _, answer, cases = made(index)
    own = [case for case in cases if case.kind == "own"]
    assert [case.turns for case in own] == [True] * len(subject.evidence)
    assert [case.place for case in own] == [claim.place for claim in answer.claims]
    assert [case.step for case in own] == [*range(len(own))][::-1]
    assert {case.turns for case in cases if case.kind == "exact"} == {True}
    assert {case.turns for case in cases if case.kind in ("distractor", "random")} <= {False}
    assert {case.video for case in cases} == {f"{index:06d}"}


def test_distractors_are_in_view_and_cover_nothing_that_counts() -> None:
    found = 0
    for index in range(6):
        subject, scene, answer, _ = made(index)
        turned = [item for item, _ in subject.evidence]
        for placed in answer.claims:
            claim = audit.distractor(
                placed.claim, turned, scene, answer.prompt.frames, np.random.default_rng(index)
            )
            if claim is None:
                continue
            found += 1
            [item] = [item for item in scene.objects if item.name == claim.name]
            assert item not in turned
            assert scene.seen(item, claim.time_s)
            assert claim.boxes == (scene.box(item, claim.time_s),)
            for other in turned:
                if other.in_view(claim.time_s):
                    assert audit.covered(scene.box(other, claim.time_s), claim.boxes[0]) <= audit.CLEAR
    assert found >= 4


def test_a_box_beside_its_object_does_not_turn() -> None:
    subject, scene, _, _ = made(0)
    item, time_s = subject.evidence[0]
    assert audit.on(Claim("", (scene.box(item, time_s),), time_s), [item], scene) == (
        item,
        pytest.approx(1.0),
    )
    assert audit.on(Claim("", ((0.0, 0.0, 0.01, 0.01),), time_s), [item], scene)[1] < audit.MISS
    assert audit.on(Claim("", (scene.box(item, time_s),), item.leave_s + 0.1), [item], scene)[1] == 0.0


def test_records_of_another_world_are_refused() -> None:
    world = ShapesConfig(seed=1)
    record = vstar_records(Clip.sample(0, "vstar", 0), 1)[0]
    assert record["question"] not in {
        subject.what
        for subject in clear_subjects(
            Clip.sample(1, "vstar", 0).scene, np.random.default_rng(0), VSTAR_FAMILIES
        )
    }
    with pytest.raises(SystemExit, match="not of this shapes world"):
        audit.subject_of(record, world)
