"""Attention over packed frames equals attention frame by frame, forward and backward."""

import pytest
import torch
from torch.nn import functional as F

from openo3.model.attention import FRAMEWISE, by_spans, flash_kernel, framewise_attention, grouped_attention
from openo3.model.packing import Layout
from tests.openo3.model.families import Family

LENGTHS = {"one": [5], "equal": [4, 4, 4], "unequal": [4, 7, 4, 1, 7, 3], "ones": [1, 1, 1, 1]}


def packed(lengths: list[int], device: str = "cpu", dtype: torch.dtype = torch.float32, width: int = 8):
    """Query, key and value as the vision tower passes them: views, not contiguous."""
    torch.manual_seed(len(lengths))
    mixed = torch.randn(sum(lengths), 3, 2, width, device=device, dtype=dtype, requires_grad=True)
    parts = [part.transpose(0, 1)[None] for part in mixed.permute(1, 0, 2, 3).unbind(0)]
    ends = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=device)
    return mixed, parts, ends


def one_by_one(parts: list[torch.Tensor], lengths: list[int], scaling: float) -> torch.Tensor:
    """Reference implementation: softmax(q k' scale) v for each segment."""
    outputs = []
    for q, k, v in zip(*(part.split(lengths, dim=2) for part in parts), strict=True):
        outputs.append(F.softmax(q @ k.transpose(-1, -2) * scaling, dim=-1) @ v)
    return torch.cat(outputs, dim=2).transpose(1, 2)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("scaling", [8**-0.5, 1.0])
def test_equals_attention_frame_by_frame(lengths: list[int], scaling: float) -> None:
    mixed, parts, ends = packed(lengths)
    ours, weights = framewise_attention(None, *parts, None, scaling=scaling, cu_seq_lens_q=ends)
    theirs = one_by_one(parts, lengths, scaling)
    assert weights is None
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)

    gradient = torch.randn_like(theirs)
    (ours_gradient,) = torch.autograd.grad(ours, mixed, gradient, retain_graph=True)
    (theirs_gradient,) = torch.autograd.grad(theirs, mixed, gradient)
    torch.testing.assert_close(ours_gradient, theirs_gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_flash_kernel_equals_attention_frame_by_frame(lengths: list[int]) -> None:
    mixed, parts, ends = packed(lengths, "cuda", torch.bfloat16, width=64)
    ours, _ = framewise_attention(
        None, *parts, None, scaling=0.125, cu_seq_lens_q=ends, max_length_q=max(lengths)
    )
    theirs = one_by_one([part.float() for part in parts], lengths, 0.125)
    torch.testing.assert_close(ours.float(), theirs, atol=2e-2, rtol=2e-2)

    gradient = torch.randn_like(theirs)
    (ours_gradient,) = torch.autograd.grad(ours, mixed, gradient.bfloat16(), retain_graph=True)
    (theirs_gradient,) = torch.autograd.grad(theirs, mixed, gradient)
    torch.testing.assert_close(ours_gradient.float(), theirs_gradient.float(), atol=3e-2, rtol=3e-2)


def test_the_tower_trains_as_with_eager_attention(family: Family) -> None:
    vision = family.encoder.vision((*family.frames(2, (3, 2)), *family.frames(1, (2, 2))))
    visual, grids = family.model.model.visual, torch.tensor(vision.grids)
    gradients = []
    for attention in (FRAMEWISE, "eager"):
        with family.vision_attention(attention):
            features = visual(vision.pixel_values, grid_thw=grids).pooler_output
        gradients.append(torch.autograd.grad(features.square().mean(), visual.blocks[0].attn.qkv.weight)[0])
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("length", "total"), [(1, 40), (3, 40), (20, 40)], ids=["one", "few", "many"])
@pytest.mark.parametrize("heads", [6, 2])
def test_heads_that_share_keys_attend_as_if_each_had_its_own(length: int, total: int, heads: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, heads, length, 8)
    key, value = torch.randn(2, 2, 2, total, 8).unbind(0)
    mask = torch.rand(2, 1, length, total) < 0.5
    mask[..., 0] = True
    module = torch.nn.Module()
    module.num_key_value_groups = heads // 2
    ours, _ = grouped_attention(module, query, key, value, mask, scaling=0.3)
    keys, values = (part.repeat_interleave(heads // 2, dim=1) for part in (key, value))
    scores = (query @ keys.transpose(-1, -2) * 0.3).masked_fill(~mask, -torch.inf)
    torch.testing.assert_close(ours, (scores.softmax(-1) @ values).transpose(1, 2), atol=1e-5, rtol=1e-4)


SEGMENTS = torch.tensor(
    [
        [0, 0, 0, 1, 1, 2, 3, 3, 3, 3],
        [0, 0, 0, 0, 1, -1, -1, -1, -1, -1],
        [0, 1, 1, 1, 1, 1, 1, 2, 2, -1],
        [0, 0, -1, -1, -1, -1, -1, -1, -1, -1],
    ]
)


def piece_by_piece(q, k, v, query_ends, key_ends, longest_query, longest_key, scale, window_size):
    """A reference implementation of `flash_kernel`; causal, aligned at the end."""
    assert window_size == (-1, 0)
    outputs = []
    for piece in range(len(query_ends) - 1):
        one = q[query_ends[piece] : query_ends[piece + 1]]
        keys, values = (part[key_ends[piece] : key_ends[piece + 1]] for part in (k, v))
        assert 0 < len(one) <= longest_query
        assert len(keys) <= longest_key
        keys, values = (part.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for part in (keys, values))
        scores = torch.einsum("qhd,khd->hqk", one, keys) * scale
        seen = torch.ones(len(one), len(keys), dtype=torch.bool, device=q.device).tril(len(keys) - len(one))
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        outputs.append(torch.einsum("hqk,khd->qhd", weights, values))
    return torch.cat(outputs)


def heads_of_packs(device: str = "cpu", dtype: torch.dtype = torch.float32, width: int = 8):
    torch.manual_seed(0)
    rows, length = SEGMENTS.shape
    made = torch.randn(8 * rows * length * width, device=device, dtype=dtype, requires_grad=True)
    query, key, value = made.view(rows, 8, length, width).split([4, 2, 2], dim=1)
    return made, (query, key, value)


def test_branches_as_pieces_attend_as_under_the_mask() -> None:
    made, heads = heads_of_packs()
    layout = Layout(SEGMENTS)
    module = torch.nn.Module()
    module.num_key_value_groups = 2
    by_mask, _ = grouped_attention(module, *heads, None, scaling=0.3, layout=layout)
    by_pieces = by_spans(*heads, layout.spans, 0.3, piece_by_piece)
    there = SEGMENTS >= 0
    torch.testing.assert_close(by_pieces[there], by_mask[there], atol=1e-5, rtol=1e-4)
    assert not by_pieces[~there].any()

    gradient = torch.randn_like(by_mask) * there[..., None, None]
    ours, theirs = (
        torch.autograd.grad(output, made, gradient, retain_graph=True)[0] for output in (by_pieces, by_mask)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
def test_flash_kernel_attends_to_branches_as_written_out() -> None:
    made, heads = heads_of_packs("cuda", torch.bfloat16, width=64)
    spans = Layout(SEGMENTS.cuda()).spans
    ours = by_spans(*heads, spans, 0.125, flash_kernel())
    theirs = by_spans(*(part.float() for part in heads), spans, 0.125, piece_by_piece)
    torch.testing.assert_close(ours.float(), theirs, atol=2e-2, rtol=2e-2)
    gradient = torch.randn_like(theirs)
    (ours_gradient,) = torch.autograd.grad(ours, made, gradient.bfloat16(), retain_graph=True)
    (theirs_gradient,) = torch.autograd.grad(theirs, made, gradient)
    torch.testing.assert_close(ours_gradient.float(), theirs_gradient.float(), atol=3e-2, rtol=3e-2)
