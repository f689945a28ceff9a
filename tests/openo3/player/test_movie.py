"""Movies of answers: what is visible when, and files that are small and can be played."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from openo3.core.geometry import RELATIVE_1000
from openo3.inference.evidence_json import evidence_json
from openo3.media.decode import Key, SamplingConfig, sample
from openo3.media.probe import probe
from openo3.player import movie
from openo3.player.canvas import COLOURS, Canvas
from openo3.player.storyboard import LONGEST_S, storyboard
from openo3.player.tracks import marks
from tests.support.clips import clip

CUP = "<obj>cup</obj><box>[{0},0,{1},500]</box>at<t>{2}</t>s"
TEXT = (
    f"<think>The {CUP.format(0, 500, 0.5)} moves, {CUP.format(500, 1000, 1.5)}.</think>"
    "<answer>From <t>0.5</t>s to <t>1.5</t>s</answer>"
)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def answer(text, size=(64, 48)):
    return {"question": "Where is the cup?", **evidence_json(text, RELATIVE_1000, size)}


def test_a_claim_appears_when_the_clip_has_reached_its_time():
    scenes = storyboard(answer(TEXT), 2.0)
    rests = [scene for scene in scenes if scene.claim is not None and scene.start_s == scene.end_s]
    assert [(scene.claim, scene.end_s, scene.pieces) for scene in rests[:2]] == [(0, 0.5, 2), (1, 1.5, 4)]
    assert (scenes[-2].start_s, scenes[-2].end_s) == (0.5, 1.5)  # the answer's span is played
    assert [scene.answered for scene in scenes[-2:]] == [True, True]
    assert not any(scene.answered for scene in scenes[:-2])


def test_a_long_answer_takes_a_minute():
    long = "<think>" + "A ".join(CUP.format(0, 500, k) for k in range(99)) + "</think><answer>B</answer>"
    assert sum(scene.seconds for scene in storyboard(answer(long), 99.0)) == pytest.approx(LONGEST_S)


def test_boxes_move_between_claims_and_are_marked():
    claims = answer(TEXT)["claims"]
    assert [(mark.box, mark.style) for mark in marks(claims, [0, 1], 1.0)] == [
        ((0.25, 0.0, 0.75, 0.5), "between")
    ]
    assert [(mark.box, mark.style) for mark in marks(claims, [0, 1], 0.5)] == [([0, 0, 0.5, 0.5], "claimed")]
    assert marks(claims, [0], 1.4) == []


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_the_movie_is_small_and_shows_the_box(video, tmp_path, ending):
    file = tmp_path / f"answer{ending}"
    data, media = answer(TEXT), probe(video)
    movie.write(file, data, video, media)
    made = probe(file)
    assert made.kind == "video"
    assert made.size == Canvas(data, media).size
    scenes = storyboard(data, media.duration_s)
    assert made.duration_s == pytest.approx(sum(scene.seconds for scene in scenes), abs=0.5)
    assert file.stat().st_size < 500_000
    last = sample(
        file, [Key(made.duration_s)], SamplingConfig(1, 1, 1, made.size[0] * made.size[1], 2)
    ).shots[-1]
    magenta = np.abs(np.asarray(last.image, int) - ImageColor.getrgb(COLOURS[0])).sum(-1) < 60
    assert magenta.sum() > 200


def test_the_movie_becomes_coarser_until_it_fits(video, tmp_path):
    file = tmp_path / "answer.gif"
    movie.write(file, answer(TEXT), video, probe(video))
    whole = file.stat().st_size
    movie.write(file, answer(TEXT), video, probe(video), max_bytes=whole - 1)
    assert file.stat().st_size < whole


@pytest.mark.parametrize("size", [(10, 400), (400, 10), (3, 3)])
def test_pictures_of_any_shape_become_a_movie(tmp_path, size):
    picture, file = tmp_path / "picture.png", tmp_path / "answer.mp4"
    Image.fromarray(np.full((*size[::-1], 3), 90, np.uint8)).save(picture)
    data = answer("<think>A <obj>寿司 cup</obj><box>[0,0,500,500]</box>.</think><answer>寿司</answer>", size)
    movie.write(file, data, picture, probe(picture))
    assert probe(file).kind == "video"


def test_another_ending_and_a_movie_that_stays_too_large_are_refused(video, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.gif or \.mp4"):
        movie.write(tmp_path / "answer.avi", answer(TEXT), video, probe(video))
    with pytest.raises(ValueError, match=r"more than 0\.001 MB"):
        movie.write(tmp_path / "answer.mp4", answer("A cup"), video, probe(video), max_bytes=1000)
