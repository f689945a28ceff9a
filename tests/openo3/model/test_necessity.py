"""Where claims point, what is hidden of them, and that an answer needs what it is about."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openo3.core.evidence import Claim, Completion, format_claim, format_completion, parse_completion
from openo3.core.geometry import RELATIVE_1000
from openo3.core.schema import Task
from openo3.media.frame_store import Frame
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine
from openo3.model.necessity import (
    CHAIN,
    FRAMES,
    LATER,
    READINGS,
    REASONED,
    Hiding,
    Place,
    Question,
    Script,
    claim_effects,
    hidden,
    place_of,
    placed_claims,
    random_places,
    shown_only,
    whole_effects,
)
from openo3.prompt_file import default_prompts
from openo3.shapes.render import render, scene_tensors
from openo3.shapes.scene import Object, Scene

SHIPPED = Path("data/tiny-qwen3-vl").resolve()
HIDING = Hiding(margin=0.0)
BOX = (0.25, 0.25, 0.5, 0.5)


def frames(*times_s: float) -> tuple[Frame, ...]:
    rng = np.random.default_rng(0)
    return tuple(
        Frame(Image.fromarray(rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)), time_s, False)
        for time_s in times_s
    )


def test_a_claim_points_at_all_frames_around_its_time() -> None:
    shown = frames(0, 1, 2, 2.6, 5)
    assert place_of(Claim("cup", (BOX,), 2.0), shown, 6.0, HIDING) == Place((1, 2, 3), ((16, 8, 32, 16),))
    assert place_of(Claim("cup", (BOX,), 2.0), shown, 6.0, Hiding(0.5, 0)) == Place((2,), ((16, 8, 32, 16),))
    assert place_of(Claim("cup", (BOX,), 3.9), shown, 6.0, Hiding(0.5, 0)) == Place((4,), ((16, 8, 32, 16),))


def test_two_boxes_are_one_place_and_a_picture_has_no_time() -> None:
    two = Claim("cup", (BOX, (0.5, 0.5, 1.0, 1.0)))
    assert place_of(two, frames(0), None, HIDING) == Place((0,), ((16, 8, 32, 16), (32, 16, 64, 32)))


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        (Claim("cup", (BOX,)), "no time"),
        (Claim("cup", (BOX,), 6.1), "after the end"),
        (Claim("cup", ((0.5, 0.5, 0.5, 0.9),), 2.0), "no area"),
        (Claim("cup", ((1.5, 0.5, 1.9, 0.9),), 2.0), "no area"),
    ],
)
def test_a_claim_that_points_nowhere_says_why(claim: Claim, reason: str) -> None:
    assert place_of(claim, frames(0, 2, 4), 6.0, HIDING) == reason


def said_of_two() -> Completion:
    first, second = (
        format_claim(name, [(250, 250, 500, 500)], at) for name, at in (("red cup", 1.5), ("hat", 2.0))
    )
    nowhere = "<obj>x</obj><box>[1,1,1,1]</box>at<t>1.0</t>s"
    reasoning = f"The {first} is first. Next comes the {second} of {nowhere}."
    return parse_completion(format_completion(reasoning, "a Red  cup"), RELATIVE_1000)


def test_claims_keep_their_numbers() -> None:
    found, left_out = placed_claims(said_of_two(), frames(0, 1, 2), 3.0, HIDING)
    assert [(each.claim.name, each.number) for each in found] == [("red cup", 0), ("hat", 1)]
    assert left_out == ["no area"]


def test_what_counts_in_each_reading() -> None:
    """The names from the claim on and the answer; an own name that is the answer counts in `later` too."""
    said = said_of_two()
    script = Script.of(said)
    assert "".join(piece.text for piece in script.pieces) == said.text
    assert [piece.text for piece in script.pieces if piece.scored] == [
        "red cup", "hat", "x", "a Red  cup", "</answer>",
    ]  # fmt: skip

    def counted(reading: str, claim: int) -> list[str]:
        return [script.pieces[number].text for number in script.counted(reading, claim)]

    answer = ["a Red  cup", "</answer>"]
    assert counted(CHAIN, 0) == ["red cup", "hat", "x", *answer]
    assert counted(LATER, 0) == ["red cup", "hat", "x", *answer]
    assert counted(CHAIN, 1) == ["hat", "x", *answer]
    assert counted(LATER, 1) == ["x", *answer]
    assert counted(REASONED, 1) == answer


@pytest.mark.parametrize(
    ("name", "itself"), [("cup", True), ("CUP", True), ("up", False), ("", False), ("(", False)]
)
def test_a_name_is_the_answer_as_a_whole_word(name: str, itself: bool) -> None:
    claim = format_claim(name, [(1, 1, 9, 9)], 1.0)
    said = parse_completion(format_completion(f"A {claim}.", "the cup, (red)"), RELATIVE_1000)
    assert Script.of(said).answers_itself == [itself]


def test_only_the_place_changes_in_its_frames() -> None:
    shown = frames(0, 1, 2)
    view = hidden(shown, Place((0, 2), ((4, 4, 20, 12),)), "grey")
    assert sorted(view) == [0, 2]
    before, after = np.asarray(shown[2].image), np.asarray(view[2].image)
    changed = (before != after).any(axis=-1)
    assert changed[4:12, 4:20].mean() > 0.9
    changed[4:12, 4:20] = False
    assert not changed.any()


def test_all_but_the_places_is_grey_and_the_questions_picture_stays() -> None:
    shown = (*frames(0, 1), Frame(frames(0)[0].image, 0.0, False, of_question=True))
    view = shown_only(shown, [Place((1,), ((0, 0, 8, 8),)), Place((1,), ((8, 8, 16, 16),))])
    assert sorted(view) == [0, 1]
    assert set(map(tuple, np.asarray(view[0].image).reshape(-1, 3))) == {(128, 128, 128)}
    for area in (np.s_[0:8, 0:8], np.s_[8:16, 8:16]):
        assert np.array_equal(np.asarray(view[1].image)[area], np.asarray(shown[1].image)[area])


def test_random_places_are_reproducible_and_differ_by_question() -> None:
    place = Place((0,), ((4, 4, 20, 12),))
    found = random_places(place, (64, 32), HIDING, 3, 0)
    assert len(found) == HIDING.draws
    assert found == random_places(place, (64, 32), HIDING, 3, 0)
    assert found != random_places(place, (64, 32), HIDING, 4, 0)
    assert {each.frames for each in found} == {(0,)}


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine.load(SHIPPED)


def picture(*objects: Object) -> Frame:
    scene = Scene(8.0, 8.0, (128, 96), objects, ((30, 35, 50), (50, 40, 40)))
    pixels = render(scene_tensors([scene]), torch.tensor([[1.0]]), (128, 96), torch.tensor([[128.0, 96.0]]))
    image = (pixels[0, 0] * 255).round().to(torch.uint8).numpy()
    return Frame(Image.fromarray(image), 1.0, False)


RED = Object("red", "circle", 0.2, 0.0, 8.0, (0.25, 0.5), (0.0, 0.0))
BLUE = Object("blue", "square", 0.2, 0.0, 8.0, (0.75, 0.5), (0.0, 0.0))


def test_an_answer_needs_the_object_that_it_is_about(engine: LocalEngine) -> None:
    """The shipped model, asked what is left of the blue square: the red circle is needed, an empty place is
    not; and the answer follows from a reasoning that has named it, whatever is hidden."""
    shown = tuple(Frame(picture(RED, BLUE).image, float(second), False) for second in range(4))
    text = default_prompts().task(
        Task.TEMPORAL_SPATIAL, "What is the shape left of the blue square at 1.0 seconds?"
    )
    red = format_claim("red circle", [(80, 230, 420, 770)], 1.0)
    empty = format_claim("nothing", [(430, 0, 570, 200)], 1.0)
    said = parse_completion(
        format_completion(f"The {red} is there. See {empty}.", "the red circle"), RELATIVE_1000
    )
    hiding = Hiding(around_s=3.0, draws=6)
    claims, _ = placed_claims(said, shown, 8.0, hiding)
    question = Question(Prompt(shown, 8.0, text), said, [(claim.place, claim.number) for claim in claims])
    [[needed, idle]] = claim_effects(engine.model, engine.encoder, [question], hiding)
    assert needed.necessity(FRAMES) > 1.0
    assert needed.necessity(FRAMES) > idle.necessity(FRAMES) + 1.0
    assert abs(needed.necessity(REASONED)) < needed.necessity(FRAMES) / 2
    assert set(needed.given) == set(READINGS)
    assert len(needed.elsewhere[CHAIN]) == hiding.draws
    [whole] = whole_effects(engine.model, engine.encoder, [question], hiding)
    assert whole.only[FRAMES] > whole.blank[FRAMES]
    assert whole.given[FRAMES] == pytest.approx(needed.given[FRAMES], abs=1e-3)
