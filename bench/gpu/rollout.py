"""Measure rollouts: transformers' `generate` on one prompt, and branches of many prompts at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.gpu.measure import CUDA, Clock, attempt, say, seconds
from bench.gpu.models import Size, attend_plainly, packs, rows, special_tokens
from openo3.model.attention import attend_framewise
from openo3.model.decoding import Sampling, decode
from openo3.model.fused_layers import compile_vision
from openo3.model.upstream import uncompiled


def published(model: Any, size: Size, most_s: float) -> dict[str, float]:
    """Completions of one prompt as rows. After `most_s` seconds the rest is extrapolated."""
    attend_plainly(model)
    (pack,) = packs(model, replace(size, new_tokens=0), 1, written=True)
    inputs = rows(model, pack)
    settings = {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 0, "eos_token_id": None}
    with torch.inference_mode():
        model.generate(**inputs, **settings, max_new_tokens=2)
        first = seconds(lambda: model.generate(**inputs, **settings, max_new_tokens=1))
        start = time.perf_counter()
        ids = model.generate(**inputs, **settings, max_new_tokens=size.new_tokens, max_time=most_s)
        took = time.perf_counter() - start
    return speed(replace(size, prompts=1), first, took, ids.shape[1] - inputs["input_ids"].shape[1])


def ours(model: Any, size: Size, *, fused: bool = True, new_tokens: int | None = None) -> dict[str, float]:
    """All prompts at once, with the completions of a prompt as branches of one row."""
    attend_framewise(model)
    prompts = packs(model, size, size.prompts, written=False)
    new_tokens = new_tokens or size.new_tokens

    def write(new: int) -> None:
        written = decode(
            model,
            prompts,
            Sampling(new, temperature=1.0, top_p=0.95, n=size.completions),
            **special_tokens(model),
            end_tokens=(),
            generator=torch.Generator(model.device).manual_seed(0),
            fused=fused,
        )
        assert all(len(branch.ids) == new for row in written for branch in row)

    with compiled_vision(model):
        write(3)
        first = seconds(lambda: write(1))
        return speed(size, first, seconds(lambda: write(new_tokens)), new_tokens)


@contextmanager
def compiled_vision(model: Any) -> Iterator[None]:
    """The vision tower as `LocalEngine.load` compiles it; training afterwards has it as it was."""
    with uncompiled(model.model.visual.blocks):
        compile_vision(model)
        yield


def speed(size: Size, first: float, took: float, tokens: int) -> dict[str, float]:
    """The time of whole completions, extrapolated from the first tokens and from `tokens`."""
    step = (took - first) / (tokens - 1)
    whole, completions = first + step * (size.new_tokens - 1), size.prompts * size.completions
    return {
        "prompts": size.prompts,
        "s": whole,
        "completions/s": completions / whole,
        "tokens/s": completions * size.new_tokens / whole,
        "prefill s": first,
        "ms/step": 1000 * step,
        "tokens measured": tokens,
    }


def table(model: Any, size: Size, clock: Clock) -> tuple[float, float]:
    """Print the rows; return completions per second, published and ours."""
    most_s = min(75, clock.left_s / 5)
    theirs = attempt("rollout, published way", clock, 30, lambda: published(model, size, most_s))
    best: dict[str, float] = {}
    count = size.prompts
    while not best and count:
        smaller = replace(size, prompts=count)
        best = attempt("rollout, ours", clock, 40, lambda smaller=smaller: ours(model, smaller))
        count //= 2
    few = min(size.new_tokens, 40)
    if CUDA:
        quarter = replace(size, prompts=max(1, size.prompts // 4))
        attempt("rollout, ours, fewer prompts", clock, 60, lambda: ours(model, quarter, new_tokens=264))
        attempt(
            "rollout, ours, layers not fused, steps not recorded", clock, 60,
            lambda: ours(model, quarter, fused=False, new_tokens=few),
        )  # fmt: skip
        attempt("attention of one layer in a decoding step", clock, 30, lambda: kernels(model, size))
    return theirs.get("completions/s", 0), best.get("completions/s", 0)


def kernels(model: Any, size: Size) -> dict[str, float]:
    """Microseconds of one layer's attention in a step, for each torch kernel that supports a mask."""
    text = model.config.text_config
    shared, width = text.num_key_value_heads, text.hidden_size // text.num_attention_heads
    queries, length = text.num_attention_heads // shared * size.completions, 4096
    made = {"device": model.device, "dtype": model.dtype}
    query = torch.randn(size.prompts, shared, queries, width, **made)
    key, value = torch.randn(2, size.prompts, shared, length, width, **made).unbind(0)
    bias = torch.zeros(size.prompts, 1, queries, length, **made)

    def run(backend: SDPBackend) -> None:
        with sdpa_kernel([backend]):
            for _ in range(20):
                F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    result = {}
    for backend in (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH):
        try:
            run(backend)
        except RuntimeError as error:
            say(f"  {backend.name}: {str(error)[:100]}")
        else:
            result[f"{backend.name} us"] = seconds(lambda backend=backend: run(backend)) / 20 * 1e6
    result["GB/s of the fastest"] = 2 * key.numel() * key.element_size() / min(result.values()) / 1e3
    return result
