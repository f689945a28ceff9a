"""A run's weights are the mean over its later updates, also if it was resumed in the middle of them."""

from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback, TrainingArguments
from trl import SFTConfig

from openo3.model.load import load_model, load_processor
from openo3.training.averaging import AverageWeights, averaging
from openo3.training.examples import Examples
from openo3.training.sft import sft_trainer
from tests.openo3.training import workplace

STEPS, SHARE = 4, 0.5  # the mean is over updates 3 and 4


class Watch(TrainerCallback):
    """The weights after each update."""

    def __init__(self) -> None:
        self.after: dict[int, dict[str, torch.Tensor]] = {}

    def on_step_end(self, args, state, control, model, **_):
        self.after[state.global_step] = {name: w.detach().clone() for name, w in model.named_parameters()}


def train(
    place: Path, examples: Examples, folder: Path, checkpoint: Path | None = None
) -> tuple[Watch, dict]:
    base = place / "data/models/base"
    config = SFTConfig(
        **workplace.SFT
        | {"output_dir": str(folder), "max_steps": STEPS, "save_steps": 3, "save_total_limit": 2}
    )
    watch = Watch()
    callbacks = [watch, AverageWeights(SHARE)]
    trainer = sft_trainer(load_model(base), load_processor(base), examples, config, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return watch, dict(trainer.model.named_parameters())


def test_the_trained_weights_are_the_mean_of_the_later_updates(
    place: Path, examples: Examples, tmp_path: Path
) -> None:
    watch, whole = train(place, examples, tmp_path / "run")
    changed = 0
    for name, weight in whole.items():
        mean = (watch.after[3][name] + watch.after[4][name]) / 2
        torch.testing.assert_close(weight.detach(), mean, msg=name)
        changed += not torch.equal(watch.after[3][name], watch.after[4][name])
    assert changed > len(whole) / 2

    _, resumed = train(place, examples, tmp_path / "resumed", tmp_path / "run/checkpoint-3")
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, msg=name)


def test_without_a_share_nothing_is_averaged(tmp_path: Path) -> None:
    assert averaging(None, TrainingArguments(output_dir=str(tmp_path))) == []


def test_sharded_training_is_refused(tmp_path: Path) -> None:
    config = TrainingArguments(output_dir=str(tmp_path))
    config.fsdp = ["full_shard"]
    with pytest.raises(ValueError, match="plain data parallelism"):
        averaging(SHARE, config)
