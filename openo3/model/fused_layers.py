"""Text layers of Qwen2.5-VL and Qwen3-VL for decoding on a GPU, with few kernels.

A layer of transformers launches about 47 kernels. In a step with a few tokens per row, each takes a few
microseconds, and all of them as long as reading the weights. Inside `fused_layers`, layers compute the
same in about 24: a step's attention is one Triton kernel (`branch_attention`), and what comes before and
after it is two functions, which torch.compile fuses if the model is large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

from openo3.model.attention import grouped_attention
from openo3.model.upstream import uncompiled

WORTH_COMPILING = 1_000_000_000
"""The number of text weights from which some seconds of compiling pay for themselves."""


@dataclass(frozen=True)
class Branches:
    """What `branch_attention` knows of a step: `owner` [B, slots], `branch` [B, A] and `index` [A]."""

    owner: torch.Tensor
    branch: torch.Tensor
    index: torch.Tensor


def large(model: Any) -> bool:
    """Whether compiling pays for this model, on this device."""
    text = model.model.language_model
    weights = sum(parameter.numel() for parameter in text.parameters())
    return model.device.type == "cuda" and weights >= WORTH_COMPILING


def compile_vision(model: Any) -> None:
    """Have torch.compile fuse the vision tower's blocks too, for a model that only answers."""
    if large(model):
        for block in model.model.visual.blocks:
            block.compile(dynamic=True)


@contextmanager
def fused_layers(model: Any, *, enabled: bool = True) -> Iterator[bool]:
    """Let the text layers run fused inside; yields whether they do.

    Where `fusible` says no, they stay as they are; a compiled form is set aside, because it would be compiled
    anew for each length of the cache.
    """
    layers = model.model.language_model.layers
    if enabled and fusible(model):
        parts = [compiled(part) if large(model) else part for part in (before_attention, after_attention)]
        with uncompiled(layers, lambda layer: partial(forward, layer, *parts)):
            yield True
    else:
        with uncompiled(layers):
            yield False


def fusible(model: Any) -> bool:
    """On a GPU, with heads that the kernel takes, unless DeepSpeed gathers the weights layer by layer."""
    attentions = [layer.self_attn for layer in model.model.language_model.layers]
    width = attentions[0].head_dim
    local = any(getattr(attention, "sliding_window", None) for attention in attentions)
    whole = all(parameter.numel() for parameter in model.lm_head.parameters())
    return model.device.type == "cuda" and width >= 16 and width & (width - 1) == 0 and whole and not local


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)


def forward(
    layer: Any,
    before: Callable[..., Any],
    after: Callable[..., Any],
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: torch.Tensor | None = None,
    past_key_values: Any = None,
    branches: Branches | None = None,
    layout: Any = None,
    **_: object,
) -> torch.Tensor:
    """A decoder layer's forward: [B, L, D] -> [B, L, D], with a cache of `SlottedLayer`s.

    `branches` marks a step of one token for each branch; other calls have `layout` or `attention_mask`.
    """
    attention = layer.self_attn
    query, key, value = before(layer, hidden_states, *position_embeddings)
    if branches is not None:
        from openo3.model.branch_attention import branch_attention  # Triton is there only with CUDA

        slots = past_key_values.layers[attention.layer_idx]
        slots.grow()
        query, key, value = (tensor.to(slots.keys.dtype) for tensor in (query, key, value))
        attended = branch_attention(
            query, key, value, slots.keys, slots.values,
            branches.owner, branches.branch, branches.index, attention.scaling,
        )  # fmt: skip
    else:
        query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
        keys, values = past_key_values.update(key, value, attention.layer_idx)
        attended, _none = grouped_attention(
            attention, query, keys, values, attention_mask, scaling=attention.scaling, layout=layout
        )
    return after(layer, hidden_states, attended)


def before_attention(
    layer: Any, hidden: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries [B, L, heads, d], keys and values [B, L, key heads, d] of the layer's input [B, L, D].

    `cosine` and `sine` are those of the tokens' positions, [B, L, d].
    """
    attention = layer.self_attn
    normed = layer.input_layernorm(hidden)
    heads = (*hidden.shape[:2], -1, attention.head_dim)
    query, key = attention.q_proj(normed).view(heads), attention.k_proj(normed).view(heads)
    value = attention.v_proj(normed).view(heads)
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm(query), attention.k_norm(key)
    return _rotated(query, cosine, sine), _rotated(key, cosine, sine), value


def after_attention(layer: Any, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """[B, L, D] from the layer's input [B, L, D] and what it attended to [B, L, heads, d]."""
    hidden = hidden + layer.self_attn.o_proj(attended.flatten(2))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def _rotated(heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    one, other = heads.chunk(2, dim=-1)
    return heads * cosine[:, :, None] + torch.cat([-other, one], dim=-1) * sine[:, :, None]
