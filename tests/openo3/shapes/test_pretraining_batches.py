"""Batches equal the output of the pipeline's own processor and tokenizer for the same scene."""

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from openo3.model.load import load_processor
from openo3.shapes import tiny
from openo3.shapes.noise import LabelNoise
from openo3.shapes.pretraining_batches import (
    PretrainingBatches,
    corpus,
    frame_times,
    model_size,
    patches,
    pixel_values,
    still_time,
    token_ids,
)
from openo3.shapes.pretraining_questions import LOOSE
from openo3.shapes.scene import SIZES, sample_scene

PROCESSOR = load_processor("data/tiny-qwen3-vl")
EXACT = LabelNoise(box_sigma=0, box_loosen=0, span_sigma_s=0, span_loosen_s=0)


def draw(questions: int = 4, stills: float = 0.0, seed: int = 0, noise: LabelNoise = LOOSE) -> dict:
    batches = PretrainingBatches(PROCESSOR, seed, 6, questions, stills, noise, keep_answers=True)
    return batches.draw(np.random.default_rng(seed))


@pytest.mark.parametrize("size", SIZES)
def test_frames_reach_the_model_at_the_processors_size(size: tuple[int, int]) -> None:
    grid = PROCESSOR.image_processor(images=[Image.new("RGB", size)], return_tensors="pt").image_grid_thw[0]
    assert model_size(size) == (int(grid[2]) * tiny.PATCH, int(grid[1]) * tiny.PATCH)


def test_patches_are_laid_out_as_the_processor_does() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 96, 128, 3), dtype=np.uint8))
    images = [Image.fromarray(frame.numpy()) for frame in frames]
    theirs = PROCESSOR.image_processor(images=images, return_tensors="pt").pixel_values
    torch.testing.assert_close(patches(frames / 255), theirs, atol=1e-5, rtol=1e-5)


def test_tokens_equal_those_of_the_tokenizer() -> None:
    for text in [*islice(corpus(1, 20), 60), "<|im_start|>user\n<think>The <obj>red ring</obj> 2.5</think>"]:
        assert token_ids(PROCESSOR.tokenizer, text) == PROCESSOR.tokenizer(text).input_ids


@pytest.mark.parametrize("stills", [0.0, 1.0], ids=["clips", "stills"])
def test_the_targets_are_the_answers(stills: float) -> None:
    drawn = draw(stills=stills)
    assert drawn["times"].shape[1] == 1 if stills else drawn["times"].shape[1] >= 4
    labels = drawn["inputs"]["labels"]
    for row, pack, answers in zip(labels, drawn["packs"], drawn["answers"], strict=True):
        said = PROCESSOR.tokenizer.decode(row[row >= 0]).split("<|im_end|>")[:-1]
        assert said == answers[: len(pack.branches)]


@pytest.mark.parametrize("stills", [0.0, 1.0], ids=["clips", "stills"])
def test_only_the_answers_are_noisy(stills: float) -> None:
    loose, exact = draw(stills=stills), draw(stills=stills, noise=EXACT)
    assert torch.equal(loose["times"], exact["times"])
    assert loose["answers"] != exact["answers"]
    for pack, other in zip(loose["packs"], exact["packs"], strict=True):
        assert pack.prefix_ids == other.prefix_ids
        pairs = zip(pack.branches, other.branches, strict=False)  # a longer answer leaves less room
        assert all(one.context_ids == two.context_ids for one, two in pairs)


@pytest.mark.parametrize("stills", [False, True], ids=["clips", "stills"])
def test_labels_are_noisy_by_default(stills: bool) -> None:
    scenes = [sample_scene(np.random.default_rng(seed)) for seed in range(12)]

    def asked(**given: LabelNoise) -> list:
        batches, rng = PretrainingBatches(PROCESSOR, 0, 6, 4, **given), np.random.default_rng(0)
        return [batches.ask(scene, still_time(scene, rng), stills, rng) for scene in scenes]

    assert asked() == asked(noise=LOOSE) != asked(noise=EXACT)


def test_frames_are_spread_evenly_with_extra_ones_among_them() -> None:
    for seed in range(30):
        scene = sample_scene(np.random.default_rng(seed))
        even = frame_times(scene, 8, 0, np.random.default_rng(seed))
        more = frame_times(scene, 8, 3, np.random.default_rng(seed))
        assert len(even) == 8
        assert np.abs(np.diff(even) - scene.duration_s / 8).max() <= 1 / scene.fps + 1e-9
        assert len(more) == 11
        assert set(even) <= set(more)
        assert (np.diff(more) >= 0).all()
        assert more[0] >= 0
        assert more[-1] < scene.duration_s
        assert np.allclose(more * scene.fps, np.round(more * scene.fps), atol=1e-6)


def test_clips_have_up_to_three_extra_frames() -> None:
    counts = [draw(questions=0, seed=seed)["times"].shape[1] for seed in range(60)]
    assert set(counts) == {*range(4, 12)}  # 4, 6 or 8 and none to three more
    assert {draw(questions=0, stills=1.0, seed=seed)["times"].shape[1] for seed in range(5)} == {1}


def test_the_words_of_composed_questions_are_in_the_corpus() -> None:
    words = set(" ".join(corpus(1, 40)).split())
    assert words >= {"hides", "leave", "leaves", "before", "after", "those", "hidden", "further", "are"}


def test_every_picture_has_its_patches() -> None:
    drawn = draw()
    values = pixel_values(drawn, "cpu", noise=0.02)
    assert len(values) == int(drawn["inputs"]["image_grid_thw"].prod(1).sum())
    assert values.abs().max() <= 1


def test_a_seed_gives_the_same_batch() -> None:
    one, two, other = draw(seed=3), draw(seed=3), draw(seed=4)
    assert torch.equal(one["inputs"]["input_ids"], two["inputs"]["input_ids"])
    assert one["answers"] == two["answers"] != other["answers"]


def test_detection_batches_have_no_questions() -> None:
    drawn = draw(questions=0, stills=1.0)
    assert "inputs" not in drawn
    assert drawn["times"].shape == (6, 1)
