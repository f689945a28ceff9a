"""Estimate the GPU memory and the disk space that a profile's training needs, before it is launched.

Weights, gradients and AdamW's states are exact by arithmetic; activations are those of the Qwen family's
layers, within a fifth or so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openo3.checkpoints import TRAINING

GB = 1e9
TEXT_SHARE = 1.2  # a prompt's tokens with its text, by those of its frames
ANSWER_TOKENS = 500  # of a record with its reasoning
FITS = 0.95  # the share of a GPU's memory that may be in use; the rest is for the longest batch

VISION_ADAPTERS = 0.41  # of those in the language layers, with Qwen3-VL-2B

UPDATE, CACHE, WHOLE = "activations", "cache of the rollout", "whole weights for the rollout"
"""What takes memory during an update alone, and the two that do so during a rollout alone."""


@dataclass(frozen=True)
class Shape:
    """A model's size; `kv_width` is the number of key heads times their width."""

    billion_weights: float
    layers: int
    hidden: int
    intermediate: int
    kv_width: int


def gpu_memory_gb(
    stage: str, blocks: Mapping[str, Any], shape: Shape, gpus: int, each_gb: float
) -> dict[str, float]:
    """Gigabytes on each of `gpus` GPUs while `stage` ("sft" or "gspo") trains, by what takes them; a GPU has
    `each_gb`, of which colocated vLLM takes a share."""
    block = blocks[stage]
    trainer, lora = block["trainer"], block.get("lora") is not None
    zero = zero_stage(trainer)
    weights = 2 * shape.billion_weights if zero or lora else 4 * shape.billion_weights
    shared = weights / (gpus if zero == 3 else 1)
    parts = {"weights": shared}
    if not lora:
        gradients = 2 if zero else 4
        states = 12 if zero else 8  # AdamW's two moments, and DeepSpeed's single precision weights
        parts["gradients"] = gradients * shape.billion_weights / (gpus if zero >= 2 else 1)
        parts["optimizer"] = states * shape.billion_weights / (gpus if zero >= 1 else 1)
    else:
        parts["adapter"] = _adapter_gb(block["lora"], shape)
    tokens = tokens_in_update(stage, blocks)
    parts[UPDATE] = tokens * _activation_bytes(trainer, shape) / GB
    if stage == "gspo":
        if trainer.get("beta", 0) and not lora:
            parts["reference"] = shared
        parts |= _rollout_gb(block, shape, zero, each_gb)
    return parts


def _adapter_gb(lora: Mapping[str, Any], shape: Shape) -> float:
    """An adapter on all linear layers: in single precision its weights, gradients and AdamW's two moments.
    A language layer has queries, keys, values, outputs and three matrices of its MLP; each adds `r` numbers
    for every input and every output."""
    sides = 9 * shape.hidden + 2 * shape.kv_width + 3 * shape.intermediate
    weights = lora.get("r", 8) * shape.layers * sides  # 8 is peft's default
    return 16 * (1 + VISION_ADAPTERS) * weights / GB


def _rollout_gb(block: Mapping[str, Any], shape: Shape, zero: int, each_gb: float) -> dict[str, float]:
    trainer = block["trainer"]
    if trainer.get("use_vllm"):  # the defaults are TRL's
        colocated = trainer.get("vllm_mode", "colocate") == "colocate"
        return {"vLLM": trainer.get("vllm_gpu_memory_utilization", 0.3) * each_gb} if colocated else {}
    cached = block["data"].get("tokens_per_batch", 32768)
    if cached == "auto":  # what is left
        cached = 0
    parts = {CACHE: cached * shape.layers * 2 * shape.kv_width * 2 / GB}
    if zero == 3:
        parts[WHOLE] = 2 * shape.billion_weights
    return parts


def most_at_once_gb(parts: Mapping[str, float]) -> float:
    """The peak in GB: a rollout and an update take turns, so the larger of the two counts."""
    update, rollout = parts.get(UPDATE, 0.0), parts.get(CACHE, 0.0) + parts.get(WHOLE, 0.0)
    return sum(parts.values()) - min(update, rollout)


def checkpoints_gb(blocks: Mapping[str, Any], shape: Shape) -> float:
    """Disk space in GB for the checkpoints of the stage that keeps more, and for both trained models.

    A checkpoint holds weights and the optimizer's states.
    """
    sizes = []
    for stage in TRAINING:
        block = blocks[stage]
        kept = (block.get("keep_best") or 0) + max(1, block["trainer"].get("save_total_limit") or 1)
        sizes.append((kept + 1) * checkpoint_gb(block, shape))  # the next is written before one goes
    return max(sizes) + 2 * 2 * shape.billion_weights  # and both trained models


def checkpoint_gb(block: Mapping[str, Any], shape: Shape) -> float:
    """Disk space in GB of one checkpoint of a stage: weights and the optimizer's states, of the adapter alone
    where one is trained."""
    if block.get("lora"):
        return 12 / 16 * _adapter_gb(block["lora"], shape)  # all but the gradients
    return 14 * shape.billion_weights


def zero_stage(trainer: Mapping[str, Any]) -> int:
    """Of the trainer's DeepSpeed settings, 0 without any."""
    path = trainer.get("deepspeed")
    return json.loads(Path(path).read_text())["zero_optimization"]["stage"] if path else 0


def tokens_in_update(stage: str, blocks: Mapping[str, Any]) -> int:
    """Tokens that pass one GPU at once."""
    frames, block = blocks["sample_frames"], blocks[stage]
    merged = frames["max_pixels"] // frames["side_multiple"] ** 2
    prompt = int(TEXT_SHARE * frames["train"]["max_frames"] * merged)
    rows = block["trainer"]["per_device_train_batch_size"]
    if stage == "sft":
        return rows * (prompt + 2 * ANSWER_TOKENS)
    group = block["trainer"]["num_generations"]
    return max(1, rows // group) * prompt + rows * block["trainer"]["max_completion_length"]


def _activation_bytes(trainer: Mapping[str, Any], shape: Shape) -> float:
    """Of one token: in half precision all that a layer's backward pass needs, of each layer or, checkpointed,
    of those that are not, of the one at hand, and every layer's input."""
    layer = 22 * shape.hidden + 8 * shape.intermediate
    inputs = 2 * shape.hidden * shape.layers
    if not trainer.get("gradient_checkpointing"):
        return layer * shape.layers
    every = (trainer.get("gradient_checkpointing_kwargs") or {}).get("every_n_layers", 1)
    return layer * (shape.layers * (1 - 1 / every) + 1) + inputs
