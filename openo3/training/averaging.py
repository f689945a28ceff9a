"""The mean of the trained weights over the later updates of a run, not the weights after the last one.

A small batch of rewards is a noisy guide: single updates scatter around the course of a training, and where
the last one lands is partly chance. The mean over many updates keeps the course and loses most of the scatter
(Polyak and Juditsky 1992; for networks Izmailov et al. 2018, arXiv 1803.05407). docs/ablation.md measures it.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

MEAN = "mean_weight"
"""The key of a weight's mean in the optimizer's state, through which checkpoints hold it."""


class AverageWeights(TrainerCallback):
    """Replaces the weights at the end by their mean after each update from `share` of the steps on.

    `share` is in 0-1, of `max_steps`. The mean is of the weights' own precision, and costs as much memory as
    they do.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        updates = state.global_step - int(self.share * state.max_steps)
        if updates < 1:
            return
        for weight, of_weight in _trained(kwargs["optimizer"]):
            if MEAN not in of_weight:
                of_weight[MEAN] = weight.detach().clone()
            else:
                of_weight[MEAN].lerp_(weight.detach(), 1 / updates)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        with torch.no_grad():
            for weight, of_weight in _trained(kwargs["optimizer"]):
                if MEAN in of_weight:
                    weight.copy_(of_weight[MEAN])


def averaging(share: float | None, config: TrainingArguments) -> list[TrainerCallback]:
    """The callback for `share`, none without one.

    Raises `ValueError` for DeepSpeed and FSDP, whose optimizers hold parts of the weights in their own form.
    """
    if share is None:
        return []
    if config.deepspeed_plugin is not None or config.fsdp:
        raise ValueError("weights are averaged on one GPU or with plain data parallelism; set it to null")
    return [AverageWeights(share)]


def _trained(optimizer: Any) -> list[tuple[torch.Tensor, dict[str, Any]]]:
    """Each weight that has been updated, with its part of the optimizer's state."""
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    return [(weight, optimizer.state[weight]) for weight in weights if weight in optimizer.state]
