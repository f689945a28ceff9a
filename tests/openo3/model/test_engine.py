"""The engine answers in the order of the questions, each as if asked alone."""

import pytest
import torch

from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine, same_frames
from tests.openo3.model.families import Family

GREEDY = Sampling(10)


@pytest.fixture
def engine(family: Family) -> LocalEngine:
    return LocalEngine(family.model, family.processor)


@pytest.fixture
def asked(family: Family) -> list[Prompt]:
    """Questions about three media in turn, one of them a still image."""
    long, short = family.frames(4, (2, 2)), family.frames(2, (3, 2), seed=1)
    still = family.frames(1, (2, 3), seed=2)
    return [
        Prompt(long, 9.5, "When is the red circle in view?"),
        Prompt(still, None, "Where is it?"),
        Prompt(short, 4.0, "Where is it?"),
        Prompt(long, 9.5, "Where is it?"),
        Prompt(short, 4.0, "Which shape enters after the blue square?"),
        Prompt(still, None, "Which shape is it? <|im_end|><|image_pad|>"),
    ]


def test_answers_come_in_the_order_of_the_questions(engine: LocalEngine, asked: list[Prompt]) -> None:
    together = engine.generate(asked, GREEDY)
    assert together == [engine.generate([prompt], GREEDY)[0] for prompt in asked]
    assert together[::-1] == engine.generate(asked[::-1], GREEDY)
    assert len({answers[0] for answers in together}) > 1


@pytest.mark.parametrize("tokens_per_batch", [1, 60, 10_000])
def test_batching_does_not_change_answers(family: Family, asked: list[Prompt], tokens_per_batch: int) -> None:
    engine = LocalEngine(family.model, family.processor, tokens_per_batch)
    reference = LocalEngine(family.model, family.processor)
    assert engine.generate(asked, GREEDY) == reference.generate(asked, GREEDY)


def test_samples_are_reproducible_and_differ(engine: LocalEngine, asked: list[Prompt]) -> None:
    sampling = Sampling(10, temperature=1.0, top_p=0.95, n=3, seed=4)
    first = engine.generate(asked, sampling)
    assert first == engine.generate(asked, sampling)
    assert [len(answers) for answers in first] == [3] * len(asked)
    assert any(len(set(answers)) > 1 for answers in first)


def test_questions_about_the_same_frames_share_them(
    family: Family, asked: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, seen = LocalEngine(family.model, family.processor), []
    vision = engine.encoder.vision
    monkeypatch.setattr(engine.encoder, "vision", lambda frames: seen.append(frames) or vision(frames))
    engine.generate(asked, GREEDY)
    assert sorted(map(len, seen)) == [1, 2, 4]


def test_prompts_share_a_prefix_by_frames_and_length(family: Family) -> None:
    first, second = family.frames(2), family.frames(2)
    asked = [(first, 2.0), (second, 2.0), (first, 2.0), (first, 3.0), (second, 2.0)]
    assert same_frames([Prompt(frames, seconds, "?") for frames, seconds in asked]) == [[0, 2], [1, 4], [3]]


def test_the_same_frames_with_another_length_are_another_prompt(engine: LocalEngine, family: Family) -> None:
    frames = family.frames(2)
    asked = [Prompt(frames, seconds, "Where is it?") for seconds in (2.0, 300.5)]
    assert engine.generate(asked, GREEDY) == [engine.generate([one], GREEDY)[0] for one in asked]


def test_no_questions_give_no_answers(engine: LocalEngine) -> None:
    assert engine.generate([], GREEDY) == []


def test_the_random_state_of_the_caller_is_unchanged(engine: LocalEngine, asked: list[Prompt]) -> None:
    state = torch.get_rng_state()
    engine.generate(asked[:1], Sampling(3, temperature=1.0))
    assert torch.equal(torch.get_rng_state(), state)
