"""Lessons show and say what the pipeline's own processor and tokenizer would have made of the same scene."""

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from openo3.model.load import load_processor
from openo3.shapes import tiny
from openo3.shapes.lessons import Lessons, corpus, model_size, patches, pixel_values, token_ids
from openo3.shapes.scene import SIZES

PROCESSOR = load_processor("data/tiny-qwen3-vl")


def lesson(questions: int = 4, stills: float = 0.0, seed: int = 0) -> dict:
    lessons = Lessons(PROCESSOR, seed, 6, questions, stills, keep=True)
    return lessons.draw(np.random.default_rng(seed))


@pytest.mark.parametrize("size", SIZES)
def test_frames_reach_the_model_at_the_processors_size(size: tuple[int, int]) -> None:
    grid = PROCESSOR.image_processor(images=[Image.new("RGB", size)], return_tensors="pt").image_grid_thw[0]
    assert model_size(size) == (int(grid[2]) * tiny.PATCH, int(grid[1]) * tiny.PATCH)


def test_patches_are_laid_out_as_the_processor_does() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 96, 128, 3), dtype=np.uint8))
    images = [Image.fromarray(frame.numpy()) for frame in frames]
    theirs = PROCESSOR.image_processor(images=images, return_tensors="pt").pixel_values
    torch.testing.assert_close(patches(frames / 255), theirs, atol=1e-5, rtol=1e-5)


def test_tokens_are_the_tokenizers() -> None:
    for text in [*islice(corpus(1, 20), 60), "<|im_start|>user\n<think>The <obj>red ring</obj> 2.5</think>"]:
        assert token_ids(PROCESSOR.tokenizer, text) == PROCESSOR.tokenizer(text).input_ids


@pytest.mark.parametrize("stills", [0.0, 1.0], ids=["clips", "stills"])
def test_the_targets_are_the_answers(stills: float) -> None:
    drawn = lesson(stills=stills)
    assert drawn["times"].shape[1] == 1 if stills else drawn["times"].shape[1] >= 4
    labels = drawn["inputs"]["labels"]
    for row, pack, answers in zip(labels, drawn["packs"], drawn["answers"], strict=True):
        said = PROCESSOR.tokenizer.decode(row[row >= 0]).split("<|im_end|>")[:-1]
        assert said == answers[: len(pack.branches)]


def test_every_picture_has_its_patches() -> None:
    drawn = lesson()
    values = pixel_values(drawn, "cpu", noise=0.02)
    assert len(values) == int(drawn["inputs"]["image_grid_thw"].prod(1).sum())
    assert values.abs().max() <= 1


def test_a_seed_draws_the_same_lesson() -> None:
    one, two, other = lesson(seed=3), lesson(seed=3), lesson(seed=4)
    assert torch.equal(one["inputs"]["input_ids"], two["inputs"]["input_ids"])
    assert one["answers"] == two["answers"] != other["answers"]


def test_detection_draws_no_questions() -> None:
    drawn = lesson(questions=0, stills=1.0)
    assert "inputs" not in drawn
    assert drawn["times"].shape == (6, 1)
