"""Supervised steps: a record a row with logits of the whole text, and packs; and how long data takes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from bench.gpu.measure import Clock, attempt, seconds
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
from bench.gpu.update import target_logps, timed, whole_logps
from openo3.model.attention import attend_framewise
from openo3.model.encode import Prompt, PromptEncoder
from openo3.model.packing import collate, model_inputs

ANSWER = 400
"""Tokens of an answer with its reasoning; one record a video, so that a pack shares nothing."""


def data_s(size: Size) -> float:
    """One process's time for a record: JPEG frames as the store holds them -> patches and tokens."""
    shots = np.random.default_rng(0).integers(
        0, 256, (size.frames, size.height * PATCH, size.width * PATCH, 3)
    )
    files = []
    for shot in shots.astype(np.uint8):
        files.append(io.BytesIO())
        Image.fromarray(shot).save(files[-1], "JPEG", quality=90)
    encoder = PromptEncoder(processor())

    def make() -> None:
        frames = tuple(Picture(Image.open(file).convert("RGB"), n / 2, False) for n, file in enumerate(files))
        encoder.encode(Prompt(frames, 8.0, "When is the red circle in view?"))

    make()
    return min(seconds(make) for _ in range(5))


def measured(
    model: Any, size: Size, rounds: int, peak: float, records: int, *, packed: bool = True, every: int = 1
) -> dict[str, float]:
    """Steps of `records` records; one layer in `every` is computed again."""
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
        "workers that keep up": records * data_s(size) / took,
    }


def table(model: Any, size: Size, clock: Clock, rounds: int, peak: float) -> None:
    run = partial(measured, model, _answered_once(size), rounds, peak)
    attempt("SFT, published way", clock, 20, lambda: run(1, packed=False))
    attempt("SFT, ours", clock, 20, lambda: run(1))
    variants(run, clock, "SFT, ours")


def variants(run: Callable[..., dict[str, float]], clock: Clock, what: str) -> None:
    attempt(what, clock, 20, lambda: run(4))
    attempt(f"{what}, 1 layer in 2 computed again", clock, 20, lambda: run(4, every=2))


def compiled(model: Any, size: Size, clock: Clock, rounds: int, peak: float) -> None:
    """The same of a model whose layers are compiled already."""
    run = partial(measured, model, _answered_once(size), rounds, peak)
    variants(run, clock, "SFT, ours, layers compiled")


def _answered_once(size: Size) -> Size:
    return replace(size, new_tokens=min(ANSWER, size.new_tokens), completions=1)
