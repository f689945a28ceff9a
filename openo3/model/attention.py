"""Attention functions for this project's batches: frames without a loop, branches without a mask.

Qwen's vision towers attend within each image. Under `sdpa` that is a loop with one attention call per
image and layer, which dominates the time of prompts with many frames. The function registered here
under the name `FRAMEWISE` takes the whole packed sequence instead, as FlashAttention does:

* on a CUDA device, torch's variable-length flash kernel on `cu_seqlens` (torch >= 2.11, half precision);
* elsewhere, frames of equal size are attended as one batch, one call per distinct size.

transformers hands over the packed sequence to any implementation whose name contains "flash"; the name
in the vision tower's configuration is the switch, no class is patched. (It is set after loading: asked
for at loading time, such a name is looked up on the kernel hub.)

The text model's function, `GROUPED`, takes packs of branches (`packing.Layout`) in the same two ways: as
pieces of one flash kernel call on a GPU, as a mask elsewhere. flash-attn's kernels are used where that
package is installed, torch's own otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils import is_flash_attn_2_available

from openo3.model.upstream import switch_attention

if TYPE_CHECKING:
    from openo3.model.packing import Layout, Spans

FRAMEWISE = "framewise_flash"
GROUPED = "grouped_sdpa"


def attend_framewise(model: PreTrainedModel) -> None:
    """Switch a loaded Qwen-VL model to `framewise_attention` for frames and `grouped_attention` for text."""
    switch_attention(model, FRAMEWISE, GROUPED)


def framewise_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int | None = None,
    scaling: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attention within each segment of a packed sequence.

    Args:
        query, key, value: [1, heads, L, head_dim], segments one after the other.
        cu_seq_lens_q: [segments + 1] int32, where each segment starts and the last one ends.

    Returns:
        [1, L, heads, head_dim] and no attention weights.
    """
    if _has_flash(query, query.dtype):
        q, k, v = (tensor.squeeze(0).transpose(0, 1).contiguous() for tensor in (query, key, value))
        ends = cu_seq_lens_q.to(torch.int32)
        lengths = (ends, ends, max_length_q, max_length_q)
        attended = flash_kernel()(q, k, v, *lengths, scale=scaling, window_size=(-1, -1))
        return attended.unsqueeze(0), None
    lengths = (cu_seq_lens_q[1:] - cu_seq_lens_q[:-1]).tolist()
    if len(set(lengths)) == 1:
        return _attend_equal(query, key, value, lengths[0], scaling), None
    output = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
    segment = torch.arange(len(lengths), device=query.device).repeat_interleave(
        torch.tensor(lengths, device=query.device)
    )
    for length in sorted(set(lengths)):
        same = torch.tensor([size == length for size in lengths], device=query.device)
        chosen = same[segment].nonzero().squeeze(1)
        q, k, v = (tensor.index_select(2, chosen) for tensor in (query, key, value))
        output = output.index_copy(0, chosen, _attend_equal(q, k, v, length, scaling).squeeze(0))
    return output.unsqueeze(0), None


def _attend_equal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, length: int, scaling: float | None
) -> torch.Tensor:
    """Segments of one `length` as one batch: [1, heads, n*length, d] -> [1, n*length, heads, d]."""
    _, heads, total, width = query.shape
    q, k, v = (
        tensor.view(heads, total // length, length, width).transpose(0, 1) for tensor in (query, key, value)
    )
    attended = F.scaled_dot_product_attention(q, k, v, scale=scaling)
    return attended.transpose(1, 2).reshape(1, total, heads, width)


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """`sdpa` of transformers, with two additions: packs are attended by their layout, and a few queries are
    attended without copying the keys that heads share.

    Args:
        query: [B, heads, L, head_dim]; key, value: [B, key heads, K, head_dim].
        attention_mask: [B, 1, L, K] bool or additive, or `None`; or as `repeat_mask_for_gqa` makes it.
        layout: takes the mask's place where L = K.

    Returns:
        [B, L, heads, head_dim] and no attention weights.
    """
    dtype = computing_dtype(query)  # rotary positions leave single precision behind under autocast
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    batch, heads, length, width = query.shape
    shared, groups = key.shape[1], heads // key.shape[1]
    if layout is not None:
        if _has_flash(query, dtype):
            return by_spans(query, key, value, layout.spans, scaling, flash_kernel()), None
        attention_mask = layout.mask
    few = length * 4 <= key.shape[2]
    if groups == 1 or attention_mask is None or not (few or attention_mask.shape[2] > length):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)
    if attention_mask.shape[2] == length:
        attention_mask = repeat_mask_for_gqa(attention_mask, groups)
    query = query.reshape(batch, shared, groups * length, width)
    # cuDNN, preferred on some GPUs, plans anew for each length of the cache
    kernels = (
        sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]) if query.is_cuda else nullcontext()
    )
    with kernels:
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scaling)
    return attended.reshape(batch, heads, length, width).transpose(1, 2).contiguous(), None


def work_out(layout: Layout, hidden: torch.Tensor) -> None:
    """Compute the parts of the layout that `grouped_attention` needs, before the first layer runs."""
    _ = layout.spans if _has_flash(hidden, computing_dtype(hidden)) else layout.mask


def repeat_mask_for_gqa(mask: torch.Tensor, groups: int) -> torch.Tensor:
    """A mask [B, 1, L, K] for the queries of `groups` heads that share keys, one after the other."""
    return mask.repeat(1, 1, groups, 1)


def by_spans(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    spans: Spans,
    scaling: float | None,
    kernel: Callable[..., torch.Tensor],
) -> torch.Tensor:
    """[B, heads, L, d] -> [B, L, heads, d] by a `flash_kernel`, with zeros where there is padding."""
    batch, heads, length, width = query.shape
    q, k, v = (tensor.transpose(1, 2).reshape(batch * length, -1, width) for tensor in (query, key, value))
    q, k, v = q.index_select(0, spans.queries), k.index_select(0, spans.keys), v.index_select(0, spans.keys)
    lengths = (spans.query_ends, spans.key_ends, spans.longest_query, spans.longest_key)
    attended = kernel(q, k, v, *lengths, scale=scaling, window_size=(-1, 0))
    output = attended.new_zeros(batch * length, heads, width).index_copy(0, spans.queries, attended)
    return output.view(batch, length, heads, width)


def computing_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The precision of attention on this tensor: autocast's where it is enabled, else the tensor's own."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


def _has_flash(tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    return tensor.is_cuda and dtype in (torch.bfloat16, torch.float16)


@cache
def flash_kernel() -> Callable[..., torch.Tensor]:
    """`kernel(q, k, v, query_ends, key_ends, longest_query, longest_key, scale=, window_size=)` on pieces of
    [tokens, heads, d]. The window (-1, 0) is causal, queries and keys of a piece ending at the same token."""
    if is_flash_attn_2_available():
        from flash_attn import flash_attn_varlen_func  # pyright: ignore[reportMissingImports]  # an extra

        def kernel(*pieces: Any, scale: float | None, window_size: tuple[int, int]) -> torch.Tensor:
            return flash_attn_varlen_func(*pieces, softmax_scale=scale, window_size=window_size)

        return kernel
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    # torch 2.11 supports grouped-query heads without a flag
    shared = {"enable_gqa": True} if "enable_gqa" in known else {}

    def kernel(*pieces: Any, scale: float | None, window_size: tuple[int, int]) -> torch.Tensor:
        windows = "window_size" in known
        window = {"window_size": window_size} if windows else {"is_causal": window_size == (-1, 0)}
        attended = varlen_attn(*pieces, scale=scale, **window, **shared)
        assert isinstance(attended, torch.Tensor)  # a tuple only where further results are asked for
        return attended

    return kernel


AttentionInterface.register(FRAMEWISE, framewise_attention)
AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)
