"""Branches over a shared prefix: several continuations of one prompt in one row.

Frames are most of a prompt. Questions about one video share them, and so do the completions of one
group in reinforcement learning. A `Pack` writes the shared part once and the branches one after the
other:

    prefix: frames and text | branch 1 | branch 2 | branch 3

Each branch attends to the prefix and to itself, and its positions start where the prefix ends, so every
branch gives exactly the logits of its own separate row. The saving is the prefix, in the language model
and in the vision tower alike. Any model of the Qwen-VL family takes such a row as it is: the mask and the
three-dimensional positions are ordinary inputs. `Layout` says the same to kernels that take no mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from openo3.model.vision import stacked


@dataclass(frozen=True)
class Branch:
    """A continuation: the loss, or the log-probability, covers only `target_ids`."""

    context_ids: Sequence[int]
    target_ids: Sequence[int]


@dataclass(frozen=True)
class Pack:
    """A prefix and its branches.

    `prefix_ids` holds one placeholder token per merged vision patch. `pixel_values` is [patches, features]
    float32, or `None` where the caller fills it in on its own device, and `grids` is [images, 3] (time,
    height, width in patches), as the image processor gives them.
    """

    prefix_ids: Sequence[int]
    grids: np.ndarray
    pixel_values: torch.Tensor | None
    branches: Sequence[Branch] = field(default_factory=tuple)


def rope_positions(ids: np.ndarray, grids: np.ndarray, image_token: int, merge: int) -> np.ndarray:
    """Multimodal rotary positions of a prompt, [3, L], as Qwen2.5-VL and Qwen3-VL define them for images.

    A text token advances all three axes by one. An image starts at the next position, spreads over height
    and width, and the text after it goes on at one past the larger side. (`get_rope_index` of the models,
    for still images, without its detour over the device.)
    """
    positions = np.empty((3, len(ids)), dtype=np.int64)
    at, index, next_position = 0, 0, 0
    starts = np.flatnonzero(ids == image_token)
    while at < len(ids):
        ahead = starts[np.searchsorted(starts, at) :][:1]
        stop = int(ahead[0]) if len(ahead) else len(ids)
        positions[:, at:stop] = np.arange(next_position, next_position + stop - at)
        next_position += stop - at
        at = stop
        if at < len(ids):
            height, width = grids[index][1] // merge, grids[index][2] // merge
            count = height * width
            positions[0, at : at + count] = next_position
            positions[1, at : at + count] = next_position + np.repeat(np.arange(height), width)
            positions[2, at : at + count] = next_position + np.tile(np.arange(width), height)
            next_position += max(height, width)
            at += count
            index += 1
    return positions


def branch_mask(segments: torch.Tensor) -> torch.Tensor:
    """The attention mask [B, 1, L, L] bool of packs, from segment numbers [B, L].

    0 is the prefix, k > 0 the k-th branch, -1 padding (which nobody sees; it sees itself, to stay finite).
    """
    length = segments.shape[1]
    row, column = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    allowed = causal & ((column == 0) | (column == row)) & (column >= 0)
    itself = torch.eye(length, dtype=torch.bool, device=segments.device)
    return (allowed | itself)[:, None]


@dataclass(frozen=True)
class Spans:
    """The same as `branch_mask` for variable-length kernels: pieces of queries, each with its keys.

    `queries` and `keys` index the flattened [B * L] tokens. Piece i is queries `query_ends[i]` to
    `query_ends[i + 1]`; it sees keys `key_ends[i]` to `key_ends[i + 1]` causally, both ending at the same
    token: a prefix sees itself, a branch the prefix and itself.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    query_ends: torch.Tensor
    key_ends: torch.Tensor
    longest_query: int
    longest_key: int


class Layout:
    """The attention pattern of packs, from segment numbers [B, L], in the form an attention function needs.

    It is computed once per batch, at the first layer.
    """

    def __init__(self, segments: torch.Tensor) -> None:
        self.segments = segments

    @cached_property
    def mask(self) -> torch.Tensor:
        """See `branch_mask`."""
        return branch_mask(self.segments)

    @cached_property
    def spans(self) -> Spans:
        """Padding is in no piece."""
        queries: list[np.ndarray] = []
        keys: list[np.ndarray] = []
        for row, numbers in enumerate(self.segments.cpu().numpy()):
            start = row * len(numbers)
            prefix = np.arange(start, start)
            bounds = [0, *np.flatnonzero(np.diff(numbers)) + 1, len(numbers)]
            for first, last in pairwise(bounds):
                if numbers[first] < 0:
                    continue
                queries.append(np.arange(start + first, start + last))
                keys.append(np.concatenate([prefix, queries[-1]]))
                if numbers[first] == 0:
                    prefix = queries[-1]
        device = self.segments.device
        sizes = [[len(piece) for piece in pieces] for pieces in (queries, keys)]
        query_ends, key_ends = (
            torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=device) for lengths in sizes
        )
        query_order, key_order = (
            torch.tensor(np.concatenate(pieces), device=device) for pieces in (queries, keys)
        )
        return Spans(query_order, key_order, query_ends, key_ends, max(sizes[0]), max(sizes[1]))


def collate(
    packs: Sequence[Pack], *, image_token: int, pad_token: int, merge: int
) -> dict[str, torch.Tensor]:
    """Packs as one batch of model inputs, right-padded, with `labels` (-100 outside the targets).

    Returns `input_ids` [B, L], `labels` [B, L], `segments` [B, L], `position_ids` [3, B, L],
    `mm_token_type_ids` [B, L], `pixel_values` and `image_grid_thw` (runs of equal frames as one entry), the
    last two only if a pack has frames.
    Who attends to whom is left to `Layout(segments)` on the model's device: a mask is the square of the rest.
    """
    rows = [_row(pack, image_token, merge) for pack in packs]
    length = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": pad_token, "labels": -100, "segments": -1}
    batch = {
        name: torch.tensor(np.stack([_padded(row[name], length, value) for row in rows]))
        for name, value in fill.items()
    }
    positions = np.stack([_padded(row["position_ids"], length, 0) for row in rows], axis=1)
    batch["position_ids"] = torch.tensor(positions)
    batch["mm_token_type_ids"] = (batch["input_ids"] == image_token).int()
    if pixel_values := [pack.pixel_values for pack in packs if pack.pixel_values is not None]:
        batch["pixel_values"] = torch.cat(pixel_values)
    grids = np.concatenate([pack.grids for pack in packs])
    if len(grids):
        batch["image_grid_thw"] = stacked(torch.tensor(grids))
    return batch


def _padded(array: np.ndarray, length: int, value: int) -> np.ndarray:
    width = [(0, 0)] * (array.ndim - 1) + [(0, length - array.shape[-1])]
    return np.pad(array, width, constant_values=value)


def _row(pack: Pack, image_token: int, merge: int) -> dict[str, np.ndarray]:
    prefix = np.asarray(pack.prefix_ids)
    prefix_positions = rope_positions(prefix, pack.grids, image_token, merge)
    start = int(prefix_positions.max()) + 1
    ids, labels, segments, positions = [prefix], [np.full(len(prefix), -100)], [], [prefix_positions]
    segments.append(np.zeros(len(prefix), dtype=np.int64))
    for number, branch in enumerate(pack.branches, start=1):
        tokens = np.asarray([*branch.context_ids, *branch.target_ids])
        target = tokens.copy()
        target[: len(branch.context_ids)] = -100
        ids.append(tokens)
        labels.append(target)
        segments.append(np.full(len(tokens), number))
        positions.append(np.broadcast_to(np.arange(start, start + len(tokens)), (3, len(tokens))))
    return {
        "input_ids": np.concatenate(ids),
        "labels": np.concatenate(labels),
        "segments": np.concatenate(segments),
        "position_ids": np.concatenate(positions, axis=1),
    }


def model_inputs(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A collated batch as keyword arguments of `model`, which may be wrapped, on its device.

    `layout` passes through the model to `openo3.model.attention`, which its attention must be switched to.
    """
    device = next(model.parameters()).device
    inputs: dict[str, Any] = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    inputs["layout"] = Layout(inputs.pop("segments"))
    return inputs
