"""Attention over packed frames equals attention frame by frame, forward and backward."""

import pytest
import torch
from torch.nn import functional as F

from openo3.model.attention import FRAMEWISE, framewise_attention, grouped_attention
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
    """Written out: softmax(q k' scale) v for each segment."""
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
