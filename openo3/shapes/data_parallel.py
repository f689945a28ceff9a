"""Data parallelism for pretraining: each process draws its own batches, and gradients are averaged.

    torchrun --nproc-per-node 4 -m openo3.shapes.pretrain --out FOLDER

It uses `torch.distributed` directly instead of `DistributedDataParallel`, because the training phases call
parts of the model.
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
            atexit.register(_leave)  # otherwise gloo may abort a process that ends first
            if device == "cuda":
                self.device = f"cuda:{os.environ['LOCAL_RANK']}"
                torch.cuda.set_device(self.device)

    def broadcast(self, value: float) -> float:
        """The value of the first process, in every process."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        distributed.broadcast(shared, 0)
        return shared.item()

    def broadcast_parameters(self, modules: Iterable[torch.nn.Module]) -> None:
        """Copy the weights of the first process to the others."""
        if self.count > 1:
            for module in modules:
                for parameter in module.parameters():
                    distributed.broadcast(parameter.data, 0)

    def average_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Average the gradients over the processes, in one transfer."""
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
