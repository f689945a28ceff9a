"""The launch settings of the profiles exist, and accelerate and transformers accept them."""

import json
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from ruamel.yaml import YAML
from trl import GRPOConfig, SFTConfig

from tools.code_deps import ROOT

PROFILES = {path.stem: YAML(typ="safe").load(path) for path in (ROOT / "profiles").glob("*.yaml")}
LARGE = sorted(name for name, blocks in PROFILES.items() if blocks["requires"].get("gpus", 0) > 1)


def test_accelerate_accepts_its_configuration_file() -> None:
    config = load_config_from_file(str(ROOT / "launch/gpus.yaml"))
    assert (config.num_processes, config.num_machines, config.mixed_precision) == (8, 1, "bf16")


@pytest.mark.parametrize("profile", LARGE)
def test_the_launcher_names_an_existing_file(profile: str) -> None:
    *_, option, file = PROFILES[profile]["launcher"]["train"].split()
    assert option == "--config_file"
    assert (ROOT / file).is_file()
    assert PROFILES[profile]["requires"]["gpus"] == load_config_from_file(str(ROOT / file)).num_processes


@pytest.mark.parametrize("profile", LARGE)
@pytest.mark.parametrize(("stage", "zero"), [("sft", 2), ("gspo", 3)])
def test_each_stage_has_its_own_sharding_settings(profile: str, stage: str, zero: int) -> None:
    settings = json.loads((ROOT / PROFILES[profile][stage]["trainer"]["deepspeed"]).read_text())
    assert settings["zero_optimization"]["stage"] == zero
    assert settings["bf16"]["check_grad_overflow"]


@pytest.mark.parametrize("profile", PROFILES)
def test_trl_accepts_the_settings(profile: str, tmp_path: Path) -> None:
    """Checks all settings except those that need GPUs: DeepSpeed, and half precision by default."""
    for stage, config in (("sft", SFTConfig), ("gspo", GRPOConfig)):
        settings = {**PROFILES[profile][stage]["trainer"], "deepspeed": None, "use_cpu": True}
        made = config(output_dir=str(tmp_path), **settings)
        assert made.learning_rate == settings["learning_rate"]
    assert made.generation_batch_size % made.num_generations == 0
    on_policy = made.steps_per_generation == made.gradient_accumulation_steps
    assert on_policy is (profile in ("open-o3-7b", "shapes-on-policy"))
