"""The repeated decoding step: the cache that branches share, and which of its slots each branch sees.

A row of the cache holds a prefix and then, step by step, one token of each open branch. Shapes change
only when the cache grows or branches end. On a GPU a step is therefore recorded once and replayed (a CUDA
graph): launching its thousand kernels one by one takes several times as long as running them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from openo3.model.attention import computing_dtype, repeat_mask_for_gqa
from openo3.model.fused_layers import Branches

ROOM = 1024
"""The number of slots by which the cache grows; on a GPU attention reads whole multiples of it."""


class Slots:
    """The cache slots of the current tokens, the same for all rows and layers.

    `index` [A] are their slots; attention reads the first `visible` ones.
    """

    def __init__(self, device: torch.device) -> None:
        self.index = torch.arange(0, device=device)
        self.filled = self.visible = 0

    def take(self, count: int, *, whole_room: bool = False) -> None:
        """Take the next `count` slots; with `whole_room` the slots that are still empty are visible too."""
        if len(self.index) == count:
            self.index += count  # in place: a recorded step reads it
        else:
            self.index = torch.arange(self.filled, self.filled + count, device=self.index.device)
        self.filled += count
        self.visible = self.room if whole_room else self.filled

    @property
    def room(self) -> int:
        return -(-self.filled // ROOM) * ROOM


class SlottedLayer(DynamicLayer):
    """A cache layer [B, key heads, room, head_dim] that is written in place."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self.slots = slots

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dtype = computing_dtype(key_states)
        key_states, value_states = key_states.to(dtype), value_states.to(dtype)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.grow()
        self.keys.index_copy_(2, self.slots.index, key_states)
        self.values.index_copy_(2, self.slots.index, value_states)
        return self.keys[:, :, : self.slots.visible], self.values[:, :, : self.slots.visible]

    def grow(self) -> None:
        """Make room for all slots that are taken."""
        if self.keys.shape[2] < self.slots.room:
            self.keys, self.values = (_grown(old, self.slots.room) for old in (self.keys, self.values))


def _grown(old: torch.Tensor, room: int) -> torch.Tensor:
    new = old.new_zeros(*old.shape[:2], room, old.shape[3])  # masked values must still be finite
    new[:, :, : old.shape[2]] = old
    return new


def open_cache(model: PreTrainedModel) -> tuple[Cache, Slots]:
    slots = Slots(model.device)
    layers = model.config.get_text_config().num_hidden_layers
    return Cache(layers=[SlottedLayer(slots) for _ in range(layers)]), slots


class Mask:
    """Which slots each column sees, as a mask that is added to attention's scores."""

    def __init__(self, owner: torch.Tensor, branch: torch.Tensor, dtype: torch.dtype, groups: int) -> None:
        self.groups, self.branch = groups, branch
        seen = (owner[:, None, :] == 0) | (owner[:, None, :] == branch[:, :, None])
        self.bias = _additive(seen, dtype)[:, None]

    def keep(self, index: torch.Tensor, branch: torch.Tensor) -> None:
        """Continue with the columns `index` [B, A] of each row; `branch` is -1 where there is none."""
        self.branch = branch
        self.bias = self.bias.gather(2, index[:, None, :, None].expand(-1, 1, -1, self.bias.shape[3]))

    def grow(self, room: int) -> bool:
        """Make room for so many slots; whether that was needed."""
        more = room - self.bias.shape[3]
        if more > 0:
            self.bias = torch.nn.functional.pad(self.bias, (0, more), value=-torch.inf)
        return more > 0

    def of_step(self, slots: Slots) -> dict[str, Any]:
        """Arguments of the model for a step whose tokens go to `slots`: each branch sees its own."""
        own = (self.branch[:, :, None] == self.branch[:, None, :]) & (self.branch >= 0)[:, None, :]
        self.bias.index_copy_(3, slots.index, _additive(own, self.bias.dtype)[:, None])
        return {"attention_mask": repeat_mask_for_gqa(self.bias[..., : slots.visible], self.groups)}


class Owners:
    """The same for `fused_layers`, whose attention asks for the owner of each slot."""

    def __init__(self, owner: torch.Tensor, branch: torch.Tensor) -> None:
        self.owner, self.branch = owner, branch

    def keep(self, index: torch.Tensor, branch: torch.Tensor) -> None:
        self.branch = branch

    def grow(self, room: int) -> bool:
        more = room - self.owner.shape[1]
        if more > 0:
            self.owner = torch.nn.functional.pad(self.owner, (0, more), value=-1)
        return more > 0

    def of_step(self, slots: Slots) -> dict[str, Any]:
        self.owner.index_copy_(1, slots.index, self.branch)
        branches = Branches(self.owner, self.branch, slots.index)
        return {"attention_mask": self.owner[:, None, None], "branches": branches}  # the mask is not read


class Steps:
    """Decoding steps of one token per column. A column holds one branch per row.

    Args:
        owner: [B, slots] which branch's token each filled slot of the cache holds; 0 is the prefix, which all
            branches see, and -1 nobody's.
        branch: [B, A] the branch of each column, -1 for none.
        positions: [B, A] of each branch's last token so far.
        fused: the model's layers are `fused_layers`; steps are then recorded on the GPU and replayed.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        cache: Cache,
        slots: Slots,
        owner: torch.Tensor,
        branch: torch.Tensor,
        positions: torch.Tensor,
        *,
        fused: bool,
    ) -> None:
        self.model, self.cache, self.slots = model, cache, slots
        text = model.config.get_text_config()
        groups = text.num_attention_heads // text.num_key_value_heads
        dtype = computing_dtype(model.lm_head.weight)
        self.sight = Owners(owner, branch) if fused else Mask(owner, branch, dtype, groups)
        self._columns(positions)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.fused, self.replayed = fused, fused and branch.is_cuda
        self.pool = torch.cuda.graph_pool_handle() if self.replayed else None

    def _columns(self, positions: torch.Tensor) -> None:
        self.positions = positions
        self.tokens = torch.zeros_like(positions)
        self.recorded = False

    def keep(self, columns: Sequence[Sequence[int]], width: int, tokens: torch.Tensor) -> torch.Tensor:
        """Continue with these columns of each row, up to `width`; returns their part of `tokens` [B, A]."""
        padded = torch.tensor(
            [[*row, *[-1] * (width - len(row))] for row in columns], device=self.positions.device
        )
        index = padded.clamp(min=0)
        self.sight.keep(index, self.sight.branch.gather(1, index).masked_fill(padded < 0, -1))
        self._columns(self.positions.gather(1, index))
        return tokens.gather(1, index)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Feed tokens [B, A]; logits [B, A, V], which the next call may overwrite."""
        self.slots.take(tokens.shape[1], whole_room=self.fused)
        if self.sight.grow(self.slots.room):
            self.recorded = False
        self.tokens.copy_(tokens)
        self.positions += 1
        if not self.replayed:
            return self._step()
        if self.graph is None or not self.recorded:
            # Only now: a pool without a graph is given up, while `logits` still lies in it
            self.graph = self._record()
            self.recorded = True
        self.graph.replay()
        return self.logits

    def _step(self) -> torch.Tensor:
        hidden = self.model.model(
            input_ids=self.tokens,
            position_ids=self.positions[None].expand(3, -1, -1),
            past_key_values=self.cache,
            use_cache=True,
            **self.sight.of_step(self.slots),
        ).last_hidden_state
        return self.model.lm_head(hidden)

    def _record(self) -> torch.cuda.CUDAGraph:
        """Record one step, which writes to the same slots as an unrecorded one.

        The step runs once before: what kernels allocate or choose at their first use cannot be recorded.
        """
        before = torch.cuda.Stream()
        before.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(before):
            self._step()
        torch.cuda.current_stream().wait_stream(before)
        graph = torch.cuda.CUDAGraph()
        # other threads, such as a data loader's, may allocate at the same time
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            self.logits = self._step()
        return graph


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, -torch.inf)
