"""Attention of a decoding step as one Triton kernel: a few queries per row, one token of each branch, over a
long cache that they share.

PyTorch's kernels that take a mask do not split a row's keys among the GPU's multiprocessors, so with few rows
most of the GPU idles. Here each program attends to one part of a row's slots ("split keys", as in
FlashDecoding), for all branches and all heads that share keys, so the cache is read once. A second kernel
joins the parts. Who sees a slot follows from its owner; there is no mask. Empty slots are not read.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl

_SLOTS = 64  # of the cache, read at a time
_MOST_ROWS = 64  # queries of one program; the accumulators must fit into registers
_PROGRAMS = 264  # about two for each multiprocessor of a Hopper GPU


@torch.library.custom_op("openo3::branch_attention", mutates_args=("keys", "values"))
def branch_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    owner: torch.Tensor,
    branch: torch.Tensor,
    index: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    """Write each branch's newest key and value; attend its newest query to the prefix and its own branch.

    Args:
        query: [B, A, heads, d], d a power of two of at least 16; key and value: [B, A, key heads, d].
        keys and values: [B, key heads, slots, d], the cache.
        owner: [B, slots] int64, the branch whose token a slot holds; 0 is the prefix, which all branches see.
        branch: [B, A] int64, the branch of each query.
        index: [A] int64, the slots of the newest tokens; the last of them is the last slot that is read.

    Returns:
        [B, A, heads, d].
    """
    keys.index_copy_(2, index, key.transpose(1, 2))
    values.index_copy_(2, index, value.transpose(1, 2))
    rows, columns, heads, width = query.shape
    shared, slots = keys.shape[1:3]
    queries = heads // shared * columns
    tile = max(16, min(_MOST_ROWS, _power_of_2(queries)))
    tiles = math.ceil(queries / tile)
    parts = max(1, min(math.ceil(_PROGRAMS / (rows * shared * tiles)), math.ceil(slots / _SLOTS)))
    query, branch, owner = query.contiguous(), branch.contiguous(), owner.contiguous()
    attended = query.new_empty(rows, shared, queries, parts, width, dtype=torch.float32)
    weight = query.new_empty(rows, shared, queries, parts, dtype=torch.float32)
    output = torch.empty_like(query)
    _launch(
        _attend_part, (parts, shared * tiles, rows),
        query, keys, values, owner, branch, index, attended, weight,
        scaling * 1.4426950408889634, columns, queries, heads, shared, parts, owner.shape[1],
        *keys.stride()[:3], *values.stride()[:3],
        TILE=tile, SLOTS=_SLOTS, WIDTH=width,
    )  # fmt: skip
    _launch(
        _join_parts, (queries, shared, rows),
        attended, weight, output, columns, queries, heads, shared, parts,
        PARTS=_power_of_2(parts), WIDTH=width,
    )  # fmt: skip
    return output


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: object, **constants: int) -> None:
    kernel[grid](*arguments, **constants, num_warps=4, num_stages=3)


def _power_of_2(least: int) -> int:
    return 1 << (least - 1).bit_length()


@branch_attention.register_fake
def _(query, key, value, keys, values, owner, branch, index, scaling):
    return torch.empty_like(query)


@triton.jit
def _attend_part(
    query, keys, values, owner, branch, index, attended, weight,
    scaling, columns, queries, heads, shared, parts, slots,
    key_row, key_head, key_slot, value_row, value_head, value_slot,
    TILE: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Softmax-weighted values of one part of a row's slots, and the logarithm (base 2) of their weight."""
    part, row = tl.program_id(0), tl.program_id(2)
    head, tile = tl.program_id(1) % shared, tl.program_id(1) // shared
    place = tile * TILE + tl.arange(0, TILE)
    asked = place < queries
    column = place % columns
    width = tl.arange(0, WIDTH)
    at = (row * columns + column) * heads + head * (heads // shared) + place // columns
    q = tl.load(query + at[:, None] * WIDTH + width[None, :], mask=asked[:, None], other=0.0)
    mine = tl.load(branch + row * columns + column, mask=asked, other=0)

    filled = tl.load(index + columns - 1) + 1
    size = tl.cdiv(tl.cdiv(filled, SLOTS), parts) * SLOTS
    start = part * size
    end = tl.minimum(start + size, filled)
    keys += row.to(tl.int64) * key_row + head * key_head
    values += row.to(tl.int64) * value_row + head * value_head
    most = tl.full([TILE], -float("inf"), tl.float32)
    total = tl.zeros([TILE], tl.float32)
    summed = tl.zeros([TILE, WIDTH], tl.float32)
    for first in range(start, end, SLOTS):
        slot = first + tl.arange(0, SLOTS)
        inside = slot < end
        k = tl.load(keys + slot[:, None] * key_slot + width[None, :], mask=inside[:, None], other=0.0)
        whose = tl.load(owner + row * slots + slot, mask=inside, other=-2)
        seen = (whose == 0)[None, :] | (whose[None, :] == mine[:, None])
        products = tl.dot(q, tl.trans(k), input_precision="ieee")
        scores = tl.where(seen & inside[None, :], products * scaling, -float("inf"))
        largest = tl.maximum(most, tl.max(scores, 1))
        level = tl.where(largest == -float("inf"), 0.0, largest)
        shares = tl.exp2(scores - level[:, None])
        before = tl.exp2(most - level)
        v = tl.load(values + slot[:, None] * value_slot + width[None, :], mask=inside[:, None], other=0.0)
        total = total * before + tl.sum(shares, 1)
        summed = summed * before[:, None] + tl.dot(shares.to(v.dtype), v, input_precision="ieee")
        most = largest
    target = ((row * shared + head) * queries + place).to(tl.int64) * parts + part
    whole = tl.where(total > 0, total, 1.0)
    tl.store(weight + target, most + tl.log2(whole), mask=asked)  # minus infinity where nothing was seen
    summed = summed / whole[:, None]
    tl.store(attended + target[:, None] * WIDTH + width[None, :], summed, mask=asked[:, None])


@triton.jit
def _join_parts(
    attended, weight, output, columns, queries, heads, shared, parts,
    PARTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The parts of one query, each by its weight."""
    place, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    part, width = tl.arange(0, PARTS), tl.arange(0, WIDTH)
    source = ((row * shared + head) * queries + place).to(tl.int64) * parts + part
    log = tl.load(weight + source, mask=part < parts, other=-float("inf"))
    share = tl.exp2(log - tl.max(log, 0))
    from_part = attended + source[:, None] * WIDTH + width[None, :]
    values = tl.load(from_part, mask=(part < parts)[:, None], other=0.0)
    joined = tl.sum(share[:, None] * values, 0) / tl.sum(share, 0)
    at = (row * columns + place % columns) * heads + head * (heads // shared) + place // columns
    tl.store(output + at * WIDTH + width, joined.to(output.dtype.element_ty))
