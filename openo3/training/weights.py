"""Weights to train: their precision, adapters beside them, and both as one model again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from openo3.model.load import compile_each_layer, load_model


def load_for_training(
    path: str | Path,
    config: TrainingArguments,
    lora: dict[str, Any] | None = None,
    freeze_vision: bool = False,
    compile_layers: bool = False,
) -> PreTrainedModel:
    """A model in the precision in which AdamW can move it, its vision tower left as it is on request, and
    each layer of both towers compiled on request.

    A bfloat16 number has eight bits: an update of 1e-6 of a weight of 1e-2 vanishes in it. So what AdamW
    moves is in single precision, and `bf16: true` computes in half of that (autocast). DeepSpeed keeps single
    precision copies of its own, spread over the GPUs, and with LoRA the weights are not moved at all: there
    they are loaded in bfloat16, which halves their memory.
    """
    half = config.bf16 and (config.deepspeed_plugin is not None or lora is not None)
    model = load_model(path, torch.bfloat16 if half else torch.float32)
    if freeze_vision:
        model.model.visual.requires_grad_(False)
    if compile_layers:
        compile_each_layer(model)
    return model


def lora_config(lora: dict[str, Any] | None) -> LoraConfig | None:
    """`peft.LoraConfig` from settings under its own names, for a trainer's `peft_config`."""
    return LoraConfig(**lora) if lora is not None else None


def save_whole(trainer: Trainer, base: str | Path, folder: Path) -> None:
    """The trained model in `folder` as `from_pretrained` reads it; an adapter is merged into its `base`."""
    if not isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel):
        trainer.save_model(str(folder))
        return
    adapter = folder / "adapter"
    trainer.save_model(str(adapter))
    unset_hf_deepspeed_config()  # training is over: the base is wanted whole, in this process
    whole = PeftModel.from_pretrained(load_model(base, trainer.model.dtype), adapter).merge_and_unload()
    whole.save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)
