"""The trained weights: precision, adapters, and merging an adapter into its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from openo3.model.load import compile_each_layer, load_model
from openo3.training.disk import with_patience


def load_for_training(
    path: str | Path,
    config: TrainingArguments,
    lora: dict[str, Any] | None = None,
    freeze_vision: bool = False,
    compile_layers: bool = False,
) -> PreTrainedModel:
    """The model at `path` in the precision that its training needs; on request with a frozen vision tower
    and with compiled layers.

    A bfloat16 number has eight significant bits: an update of 1e-6 to a weight of 1e-2 is lost. So weights
    that AdamW updates are in single precision, and `bf16: true` computes in bfloat16 (autocast). DeepSpeed
    keeps its own single precision copies, spread over the GPUs, and LoRA does not update the weights: in
    both cases they are loaded in bfloat16, which halves their memory.
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
    adapted = trainer.accelerator.unwrap_model(trainer.model)
    if not isinstance(adapted, PeftModel):
        trainer.save_model(str(folder))
        return
    adapter = folder / "adapter"
    trainer.save_model(str(adapter))
    unset_hf_deepspeed_config()  # training is over: load the whole base in this process
    dtype = adapted.dtype
    assert isinstance(dtype, torch.dtype)
    whole = PeftModel.from_pretrained(load_model(base, dtype), adapter).merge_and_unload()
    with_patience(lambda: whole.save_pretrained(folder), str(folder))
    if trainer.processing_class is not None:
        trainer.processing_class.save_pretrained(folder)
