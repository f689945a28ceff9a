"""Data parallelism for pretraining: every process learns from lessons of its own, gradients are averaged.

    torchrun --nproc-per-node 4 -m openo3.shapes.pretrain --out FOLDER

A few lines on `torch.distributed` instead of `DistributedDataParallel`, because the phases train parts of
the model by calling them directly.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Sequence

import torch
from torch import distributed


class Processes:
    """The processes that torchrun started, or this one alone. `rank` counts from 0, `device` is its own."""

    def __init__(self, device: str) -> None:
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = device
        if self.count > 1:
            distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
            atexit.register(_leave)  # else gloo may abort a process that ends before the others
            if device == "cuda":
                self.device = f"cuda:{os.environ['LOCAL_RANK']}"
                torch.cuda.set_device(self.device)

    def agree(self, value: float) -> float:
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        distributed.broadcast(shared, 0)
        return shared.item()

    def begin_alike(self, modules: Iterable[torch.nn.Module]) -> None:
        """Give all processes the first one's weights."""
        if self.count > 1:
            for module in modules:
                for parameter in module.parameters():
                    distributed.broadcast(parameter.data, 0)

    def average_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """In one transfer of all gradients."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        for gradient, averaged in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(averaged.view_as(gradient))


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
