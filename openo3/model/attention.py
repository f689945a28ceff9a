"""Attention as this project's batches need it: frames without a loop, short queries without copies.

Qwen's vision towers attend within each image. Under `sdpa` that is a loop with one attention call per
image and layer, which is most of the time once a prompt holds many frames. The function registered here
under the name `FRAMEWISE` takes the whole packed sequence instead, as FlashAttention does:

* on a CUDA device, torch's variable-length flash kernel on `cu_seqlens` (torch >= 2.11, half precision);
* elsewhere, frames of equal size are attended as one batch, one call per distinct size.

transformers hands over the packed sequence to any implementation whose name contains "flash"; the name
in the vision tower's configuration is the switch, no class is patched. (It is set after loading: asked
for at loading time, such a name is looked up on the kernel hub.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

FRAMEWISE = "framewise_flash"
GROUPED = "grouped_sdpa"


def attend_framewise(model: PreTrainedModel) -> None:
    """Switch a loaded Qwen-VL model to `framewise_attention` for frames and `grouped_attention` for text."""
    model.model.visual.config._attn_implementation = FRAMEWISE
    model.model.language_model.config._attn_implementation = GROUPED


def framewise_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attention within each segment of a packed sequence.

    Args:
        query, key, value: [1, heads, L, head_dim], segments one after the other.
        cu_seq_lens_q: [segments + 1] int32, where each segment starts and the last one ends.

    Returns:
        [1, L, heads, head_dim] and no attention weights.
    """
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (tensor.squeeze(0).transpose(0, 1).contiguous() for tensor in (query, key, value))
        cu = cu_seq_lens_q.to(torch.int32)
        return varlen_attn(q, k, v, cu, cu, max_length_q, max_length_q, scale=scaling).unsqueeze(0), None
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
        parts = (tensor.index_select(2, chosen) for tensor in (query, key, value))
        output = output.index_copy(0, chosen, _attend_equal(*parts, length, scaling).squeeze(0))
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
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """The library's `sdpa`, and the same without copies of the keys where a few queries have a mask.

    Args:
        query: [B, heads, L, head_dim]; key, value: [B, key heads, K, head_dim].
        attention_mask: [B, 1, L, K] bool or additive, or `None`.

    Returns:
        [B, L, heads, head_dim] and no attention weights.
    """
    batch, heads, length, width = query.shape
    shared = key.shape[1]
    if attention_mask is None or length * 4 > key.shape[2] or heads == shared:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)
    lined_up = query.reshape(batch, shared, heads // shared * length, width)
    mask = attention_mask.repeat(1, 1, heads // shared, 1)
    attended = F.scaled_dot_product_attention(lined_up, key, value, attn_mask=mask, scale=scaling)
    return attended.reshape(batch, heads, length, width).transpose(1, 2).contiguous(), None


AttentionInterface.register(FRAMEWISE, framewise_attention)
AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)
