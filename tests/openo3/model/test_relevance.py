"""Evidence is cut out of the right frames, and the model's rating is one of the three digits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openo3.core.evidence import parse_completion
from openo3.core.geometry import RELATIVE_1000
from openo3.media.frame_store import Frame
from openo3.model.decoding import Sampling
from openo3.model.engine import LocalEngine
from openo3.model.relevance import MOST_CROPS, RATINGS, crop, evidence, rate
from openo3.prompt_file import default_prompts

MODEL = Path(__file__).parents[3] / "data/tiny-qwen3-vl"
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200))
FRAMES = tuple(Frame(Image.new("RGB", (128, 96), c), float(k), False) for k, c in enumerate(COLOURS))
BOX = "<box>[100,100,600,900]</box>"


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine.load(MODEL)


def cited(reasoning: str, frames=FRAMES, duration_s: float | None = 3.0):
    completion = parse_completion(f"<think>{reasoning}</think><answer>x</answer>", RELATIVE_1000)
    return evidence("Which?", completion, frames, duration_s, 32)


def claims(*times: float) -> str:
    return " ".join(f"<obj>cup</obj>{BOX}at<t>{time}</t>s" for time in times)


def test_a_box_is_cut_out_of_the_frame_nearest_to_its_time():
    found = cited(claims(1.9, 0.4))
    assert [frame.time_s for frame in found.crops] == [2.0, 0.0]
    assert [tuple(np.asarray(f.image)[0, 0]) for f in found.crops] == [COLOURS[2], COLOURS[0]]
    assert found.usable


@pytest.mark.parametrize(
    "reasoning",
    [
        "nothing is cited",
        f"<obj>cup</obj>{BOX} without a time",
        claims(3.5),  # after the end
        "<obj>cup</obj><box>[300,300,300,900]</box>at<t>1.0</t>s",  # no area
        "<obj>cup</obj><box>[1200,300,1400,900]</box>at<t>1.0</t>s",  # off the frame
    ],
)
def test_evidence_that_shows_nothing_is_not_usable(reasoning):
    assert not cited(reasoning).usable


def test_evidence_that_points_at_everything_is_not_usable():
    boxes = [f"<obj>cup</obj><box>[{k},0,900,900]</box>at<t>1</t>s" for k in range(MOST_CROPS + 1)]
    assert cited("".join(boxes[1:])).usable
    assert not cited("".join(boxes)).usable
    assert len(cited(boxes[0] * 20).crops) == 1  # the same box again


def test_a_box_in_a_still_image_needs_no_time():
    found = cited(f"<obj>cup</obj>{BOX}", FRAMES[:1], None)
    assert len(found.crops) == 1


@pytest.mark.parametrize("box", [(0.2, 0.2, 0.6, 0.6), (0, 0, 1, 0.01), (0, 0, 0.001, 0.001), (-1, -1, 2, 2)])
def test_a_crop_has_sides_that_the_model_takes_and_no_more_pixels_than_the_frame(box):
    found = crop(FRAMES[0], box, 32)
    width, height = found.image.size
    assert width % 32 == height % 32 == 0
    assert 0 < width * height <= 128 * 96


def test_the_model_rates_usable_evidence_alone(engine):
    ratings = rate(engine, [cited(claims(1.0)), cited("nothing"), cited(claims(0.0, 2.0))])
    assert ratings[1] is None
    assert {ratings[0], ratings[2]} <= {0, 1, 2}
    assert rate(engine, [cited("nothing")]) == [None]


def test_the_rating_is_the_likeliest_of_the_digits(engine):
    prompt = cited(claims(1.0)).prompt(default_prompts())
    [chosen] = engine.choose([prompt], RATINGS)
    ids = [engine.encoder.token(digit) for digit in RATINGS]
    scores = {}
    for digit, token in zip(RATINGS, ids, strict=True):
        pack = engine._pack([prompt], [0])
        sampling = Sampling(max_new_tokens=1, only=(token,))
        [[generation]] = engine.decode([pack], sampling, torch.Generator())
        scores[digit] = generation.logprobs[0]
    assert RATINGS[chosen] == max(scores, key=scores.get)


def test_an_option_must_be_one_token(engine):
    with pytest.raises(ValueError, match="tokens of this model, expected one"):
        engine.choose([cited(claims(1.0)).prompt(default_prompts())], ["no token of its own"])
