"""A step with a non-finite loss or gradient stops the run or is skipped, and its samples are named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOConfig, SFTConfig

from openo3.core.rewards import RewardSettings
from openo3.model.load import load_model, load_processor
from openo3.training.examples import Examples
from openo3.training.gspo import gspo_trainer
from openo3.training.nonfinite import FiniteSteps, NonFiniteError, OnNonFinite
from openo3.training.sft import sft_trainer
from tests.openo3.training import workplace

Make = Callable[[OnNonFinite], FiniteSteps]


@pytest.fixture(params=["sft", "gspo"])
def make(
    request: pytest.FixtureRequest, place: Path, examples: Examples, tmp_path: Path, varied_reward: None
) -> Make:
    """A trainer for three steps with updates large enough to detect."""

    def trainer(on_non_finite: OnNonFinite) -> FiniteSteps:
        base = place / "data/models/base"
        parts = (load_model(base), load_processor(base), examples)
        own = {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 3,
            "save_strategy": "no",
            "weight_decay": 0.1,
        }
        if request.param == "sft":
            return sft_trainer(*parts, SFTConfig(**workplace.SFT | own), on_non_finite=on_non_finite)
        config = GRPOConfig(**workplace.GSPO | own)
        return gspo_trainer(*parts, config, RewardSettings(), on_non_finite=on_non_finite)

    return trainer


def spoil(trainer: FiniteSteps, step: int) -> None:
    """Makes the outputs of the language model NaN during one training step."""

    def hook(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        return output * torch.nan if trainer.state.global_step == step and torch.is_grad_enabled() else output

    trainer.model.model.language_model.norm.register_forward_hook(hook)


def test_a_nonfinite_step_stops_the_run_and_names_the_samples(make: Make, examples: Examples) -> None:
    trainer = make("stop")
    spoil(trainer, 1)
    with pytest.raises(
        NonFiniteError, match=r"step 2: loss nan, samples .*skip leaves such steps out"
    ) as error:
        trainer.train()
    named = str(error.value).split("samples ")[1].split("; ")[0].split(", ")
    assert set(named) <= {sample.id for sample in examples.samples}
    assert trainer.steps_left_out == 0
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_a_skipped_step_changes_no_weight(make: Make, capfd: pytest.CaptureFixture) -> None:
    trainer = make("skip")
    spoil(trainer, 1)
    seen = []
    trainer.add_callback(Watch(seen))
    trainer.train()
    assert trainer.steps_left_out == 1
    assert trainer.state.global_step == 3
    _, first, second, third = seen
    assert torch.equal(first, second)
    assert not torch.equal(second, third)
    assert third.isfinite().all()
    said = capfd.readouterr().err
    assert "step 2: loss nan, samples" in said
    assert "step 2: gradient norm nan, samples" in said


class Watch(TrainerCallback):
    """The weights before training and after each step."""

    def __init__(self, seen: list[torch.Tensor]) -> None:
        self.seen = seen

    def on_train_begin(self, args, state, control, model, **kwargs) -> None:
        self.seen.append(model.model.language_model.norm.weight.detach().clone())

    on_step_end = on_train_begin
