"""Estimates computed by hand, and the direction in which each setting changes them."""

import copy
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from openo3.cli.doctor import Requirements
from openo3.configuration import read_block, read_blocks
from openo3.rehearsal import footprint
from tools.code_deps import ROOT

SHAPE = footprint.Shape(8.0, layers=30, hidden=4000, intermediate=16000, kv_width=500)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(ROOT)
    return read_blocks("profiles/open-o3-7b.yaml")


def test_estimates_match_a_calculation_by_hand(blocks: dict) -> None:
    blocks["gspo"]["data"]["tokens_per_batch"] = 100_000
    assert footprint.gpu_memory_gb("gspo", blocks, SHAPE, gpus=8, each_gb=80) == {
        "weights": 2.0,
        "gradients": 2.0,
        "optimizer": 12.0,
        "activations": pytest.approx(5529 * ((22 * 4000 + 8 * 16000) * 16 + 2 * 4000 * 30) / 1e9),
        "reference": 2.0,
        "whole weights for the rollout": 16.0,
        "cache of the rollout": pytest.approx(100_000 * 30 * 2 * 500 * 2 / 1e9),
    }
    sft = footprint.gpu_memory_gb("sft", blocks, SHAPE, gpus=8, each_gb=80)
    assert (sft["weights"], sft["gradients"], sft["optimizer"]) == (16.0, 2.0, 12.0)
    assert set(sft) == {"weights", "gradients", "optimizer", "activations"}


def test_a_batch_size_that_finds_itself_takes_what_is_left(blocks: dict) -> None:
    blocks["gspo"]["data"]["tokens_per_batch"] = "auto"
    parts = footprint.gpu_memory_gb("gspo", blocks, SHAPE, gpus=8, each_gb=80)
    assert parts["cache of the rollout"] == 0


def test_rollout_and_update_memory_are_not_counted_together() -> None:
    parts = {
        "weights": 10.0,
        "activations": 7.0,
        "cache of the rollout": 3.0,
        "whole weights for the rollout": 5.0,
    }
    assert footprint.most_at_once_gb(parts) == 18.0


@pytest.mark.parametrize(
    ("key", "value", "less"),
    [
        ("lora", {"r": 8}, True),
        ("deepspeed", None, False),
        ("gradient_checkpointing", False, False),
        ("gradient_checkpointing_kwargs", {"every_n_layers": 1}, True),
        ("per_device_train_batch_size", 16, False),
    ],
)
def test_each_setting_changes_the_estimate_in_the_expected_direction(
    blocks: dict, key: str, value: object, less: bool
) -> None:
    changed = copy.deepcopy(blocks)
    place = changed["gspo"] if key == "lora" else changed["gspo"]["trainer"]
    place[key] = value
    before, after = (
        sum(footprint.gpu_memory_gb("gspo", each, SHAPE, gpus=8, each_gb=80).values())
        for each in (blocks, changed)
    )
    assert (after < before) is less


@pytest.mark.parametrize(("mode", "taken"), [("colocate", {"vLLM": 40.0}), ("server", {})])
def test_the_vllm_share_replaces_the_rollout_memory(blocks: dict, mode: str, taken: dict) -> None:
    def parts() -> dict[str, float]:
        return footprint.gpu_memory_gb("gspo", blocks, SHAPE, gpus=8, each_gb=80)

    kept = {name: size for name, size in parts().items() if not name.endswith("rollout")}
    settings = {"use_vllm": True, "vllm_mode": mode, "vllm_gpu_memory_utilization": 0.5}
    blocks["gspo"]["trainer"] |= settings
    assert parts() == kept | taken


def test_checkpoints_include_the_optimizer(blocks: dict) -> None:
    assert footprint.checkpoints_gb(blocks, SHAPE) == 2 * 14 * 8 + 32
    blocks["gspo"]["keep_best"] = 3
    assert footprint.checkpoints_gb(blocks, SHAPE) == 5 * 14 * 8 + 32


def test_an_adapter_takes_the_place_of_gradients_and_optimizer(blocks: dict) -> None:
    blocks["sft"] |= {"lora": {"r": 64}}
    parts = footprint.gpu_memory_gb("sft", blocks, SHAPE, gpus=8, each_gb=80)
    assert set(parts) == {"weights", "adapter", "activations"}
    # by layer: q 8000, k and v 4500 each, o 8000, and 20000 for each of the three matrices of the MLP
    language = 64 * 30 * (8000 + 2 * 4500 + 8000 + 3 * 20000)
    assert parts["adapter"] == pytest.approx(16 * 1.41 * language / 1e9)
    assert footprint.checkpoint_gb(blocks["sft"], SHAPE) == pytest.approx(12 * 1.41 * language / 1e9)


def test_the_checkpoint_of_an_adapter_is_as_large_as_it_was_on_a_gpu() -> None:
    block = read_block(ROOT / "profiles/one-gpu.yaml", "requires", Requirements)
    assert block.model is not None
    assert footprint.checkpoint_gb({"lora": {"r": 32}}, block.model) == pytest.approx(0.592, abs=0.005)


def test_the_alternative_of_one_gpu_fits_its_card_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 4B that comments of the profile name, on 40 GB."""
    monkeypatch.chdir(ROOT)
    blocks = read_blocks("profiles/one-gpu.yaml")
    [written] = re.findall(r"# 4B:  (\{.*\})", Path("profiles/one-gpu.yaml").read_text())
    shape = footprint.Shape(**YAML(typ="safe").load(written))
    for stage in ("sft", "gspo"):
        parts = footprint.gpu_memory_gb(stage, blocks, shape, 1, 40)
        assert footprint.most_at_once_gb(parts) < 0.9 * 40


@pytest.mark.parametrize("profile", ["open-o3-7b", "open-o3-8b", "one-gpu"])
def test_the_large_profiles_fit_their_requested_gpus(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = Path(f"profiles/{profile}.yaml")
    requires, blocks = read_block(path, "requires", Requirements), read_blocks(path)
    for stage in ("sft", "gspo"):
        parts = footprint.gpu_memory_gb(stage, blocks, requires.model, requires.gpus, requires.gpu_memory_gb)
        assert footprint.most_at_once_gb(parts) < 0.9 * requires.gpu_memory_gb
