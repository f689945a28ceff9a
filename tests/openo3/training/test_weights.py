"""Trained weights have the right precision, and an adapter is saved as an ordinary model."""

from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters
from trl import GRPOConfig, SFTConfig

from openo3.core.rewards import RewardSettings
from openo3.model.load import load_model, load_processor
from openo3.training.examples import Examples
from openo3.training.gspo import gspo_trainer
from openo3.training.sft import sft_trainer
from openo3.training.weights import load_for_training, lora_config, save_whole
from tests.openo3.training import workplace

LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


@pytest.mark.parametrize(
    ("bf16", "lora", "expected"),
    [
        (False, None, torch.float32),
        (False, LORA, torch.float32),
        (True, None, torch.float32),
        (True, LORA, torch.bfloat16),
    ],
)
def test_adamw_updates_single_precision_weights(place: Path, tmp_path: Path, bf16, lora, expected) -> None:
    config = SFTConfig(output_dir=str(tmp_path), **workplace.SFT | {"bf16": bf16})
    assert load_for_training(place / "data/models/base", config, lora).dtype == expected


def test_a_small_update_changes_only_single_precision_weights() -> None:
    """Why: a step of 1e-6, the published learning rate, from a weight of usual size."""
    for dtype, moved in ((torch.float32, True), (torch.bfloat16, False)):
        weight = torch.full((1,), 0.02, dtype=dtype)
        assert ((weight - 1e-6) != weight).item() is moved


def test_a_frozen_vision_tower_is_unchanged(place: Path, examples: Examples, tmp_path: Path) -> None:
    base = place / "data/models/base"
    config = SFTConfig(output_dir=str(tmp_path), **workplace.SFT | {"max_steps": 1, "save_strategy": "no"})
    trainer = sft_trainer(
        load_for_training(base, config, freeze_vision=True), load_processor(base), examples, config
    )
    trainer.train()
    before = load_model(base, torch.float32).state_dict()
    changed = {name for name, now in trainer.model.state_dict().items() if not now.equal(before[name])}
    assert any("language_model" in name for name in changed)
    assert not [name for name in changed if "visual" in name]


def test_compiled_layers_train_the_same(
    place: Path, examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs torch.compile without its last step, which needs a C++ compiler and takes most of a minute."""
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda layer: whole(layer, backend="aot_eager"))
    base = place / "data/models/base"
    trained = []
    for compiled in (False, True):
        changed = {"max_steps": 2, "save_strategy": "no"}
        config = SFTConfig(output_dir=str(tmp_path / str(compiled)), **workplace.SFT | changed)
        model = load_for_training(base, config, compile_layers=compiled)
        counters.clear()
        trainer = sft_trainer(model, load_processor(base), examples, config)
        trainer.train()
        assert bool(counters["stats"]) is compiled
        assert not [reason for reason in counters["graph_break"] if "RLock" in reason]
        trained.append(trainer.model.state_dict())
    before = load_model(base, torch.float32).state_dict()
    eager, compiled = trained
    assert any(not value.equal(before[name]) for name, value in eager.items())
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, atol=1e-4, rtol=0)


@pytest.mark.parametrize("stage", ["sft", "gspo"])
def test_an_adapter_is_trained_and_merged(
    stage: str, place: Path, examples: Examples, tmp_path: Path
) -> None:
    base, run = place / "data/models/base", str(tmp_path / "run")
    parts = (load_model(base), load_processor(base), examples)
    changed = {"max_steps": 2, "learning_rate": 1e-2, "save_strategy": "no"}
    if stage == "sft":
        config = SFTConfig(output_dir=run, **workplace.SFT | changed)
        trainer = sft_trainer(*parts, config, lora=lora_config(LORA))
    else:
        config = GRPOConfig(output_dir=run, **workplace.GSPO | changed | {"beta": 0.04})
        trainer = gspo_trainer(*parts, config, RewardSettings(), lora=lora_config(LORA))
    trainer.train()
    with torch.no_grad():  # so that merging is visible whatever was learned
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.01)
    save_whole(trainer, base, tmp_path / "model")
    merged, before = load_model(tmp_path / "model"), load_model(base)
    load_processor(tmp_path / "model")
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected = trainer.model.eval()(input_ids=ids).logits
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, atol=1e-3, rtol=1e-3)
        assert not torch.allclose(before(input_ids=ids).logits, expected, atol=1e-2)
    assert set(merged.state_dict()) == set(before.state_dict())
