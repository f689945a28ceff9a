"""Measure SFT steps: one record per row with logits of the whole text, packs, and data loading."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bench.gpu.measure import CUDA, Clock, attempt, seconds
from bench.gpu.models import (
    PATCH,
    Picture,
    Size,
    attend_plainly,
    forward_flops,
    packs,
    processor,
    rows,
    special_tokens,
)
from bench.gpu.update import target_logps, timed, trained, whole_logps
from openo3.model.attention import attend_framewise
from openo3.model.encode import Prompt, PromptEncoder
from openo3.model.packing import Branch, Pack, collate, model_inputs

ANSWER = 400
"""Tokens of an answer with its reasoning. There is one record per video, so packs share no frames."""


class Records(Dataset):
    """`count` records, processed from JPEG frames to patches and tokens at each access."""

    def __init__(self, size: Size, count: int) -> None:
        self.size, self.count, self.encoder = size, count, PromptEncoder(processor())
        shape = (size.frames, size.height * PATCH, size.width * PATCH, 3)
        self.frames = [io.BytesIO() for _ in range(size.frames)]
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        for file, pixels in zip(self.frames, noise, strict=True):
            Image.fromarray(pixels).save(file, "JPEG", quality=95)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Pack:
        frames: Any = [Picture(Image.open(file).convert("RGB"), n / 2) for n, file in enumerate(self.frames)]
        encoded = self.encoder.encode(Prompt(tuple(frames), 8.0, "When is the red circle in view?"))
        answer = [index % 100] * self.size.new_tokens
        vision = encoded.vision
        branch = Branch(encoded.context_ids, answer)
        return Pack(encoded.prefix_ids, vision.grids, vision.pixel_values, [branch])


def waiting(model: Any, size: Size, rounds: int, records: int = 4) -> dict[str, float]:
    """Steps with batches from worker processes, and the share of a step spent waiting for a batch.

    Waiting includes the copy to the device. The results are medians.
    """
    attend_framewise(model)
    workers, steps = min(8, os.cpu_count() or 1), 2 + 3 * rounds
    loader = DataLoader(
        Records(size, records * steps),
        batch_size=records,
        collate_fn=partial(collate, **special_tokens(model)),
        num_workers=workers,
        multiprocessing_context="spawn",  # a forked process hangs after vLLM has run
        pin_memory=CUDA,
    )
    batches = iter(loader)
    inputs: dict[str, Any] = {}

    def take() -> None:
        inputs.update(model_inputs(model, next(batches)))

    def step() -> None:
        labels = inputs.pop("labels")
        (-target_logps(model, inputs, labels)).mean().backward()

    with trained(model, 1):
        times = [(seconds(take), seconds(step)) for _ in range(steps)][
            2:
        ]  # without the first steps, which allocate memory
    return {
        "records": records,
        "workers": workers,
        "s": median(waited + took for waited, took in times),
        "share waited for data": median(waited / (waited + took) for waited, took in times),
    }


def measured(
    model: Any, size: Size, rounds: int, peak: float, records: int, *, packed: bool = True, every: int = 1
) -> dict[str, float]:
    """Steps of `records` records, with activation checkpointing of one layer in `every`."""
    made = packs(model, size, records, written=True)
    if packed:
        attend_framewise(model)
        batch = collate(made, **special_tokens(model))
        labels = batch.pop("labels").to(model.device)

        def step() -> None:
            (-target_logps(model, model_inputs(model, batch), labels)).mean().backward()

    else:
        attend_plainly(model)
        inputs = [rows(model, pack) for pack in made]

        def step() -> None:
            for row in inputs:
                (-whole_logps(model, row, size.new_tokens)).mean().backward()

    whole = size.prompt_tokens + size.new_tokens
    count = partial(forward_flops, model.config, size, tokens=whole, pairs=whole**2 // 2)
    useful = 3 * records * count(logits=size.new_tokens) / 1e12
    took = timed(model, step, rounds, every)["s"]
    return {
        "records": records,
        "s": took,
        "tokens/s": records * whole / took,
        "TFLOP/s useful": useful / took,
        "share of the peak": useful / took / peak,
    }


def table(model: Any, size: Size, clock: Clock, rounds: int, peak: float) -> None:
    run = partial(measured, model, _answered_once(size), rounds, peak)
    attempt("SFT, published way", clock, 20, lambda: run(1, packed=False))
    attempt("SFT, ours", clock, 20, lambda: run(1))
    attempt("SFT, ours, frames from JPEG", clock, 40, lambda: waiting(model, _answered_once(size), rounds))
    variants(run, clock, "SFT, ours")


def variants(run: Callable[..., dict[str, float]], clock: Clock, what: str) -> None:
    attempt(what, clock, 20, lambda: run(4))
    attempt(f"{what}, 1 layer in 2 computed again", clock, 20, lambda: run(4, every=2))


def compiled(model: Any, size: Size, clock: Clock, rounds: int, peak: float) -> None:
    """The same measurement on a model with compiled layers."""
    run = partial(measured, model, _answered_once(size), rounds, peak)
    variants(run, clock, "SFT, ours, layers compiled")


def _answered_once(size: Size) -> Size:
    return replace(size, new_tokens=min(ANSWER, size.new_tokens), completions=1)
