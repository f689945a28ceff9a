"""Batched decoding of branches: every answer about one prefix grows in the prefix's own row.

A row of the key/value cache holds a prefix once, then the tokens of all its branches as they come, one
per branch and step. Who may see what is a matter of the mask, exactly as in training (`packing`). Next to
one row per answer this keeps one copy of the frames instead of N, in memory and in every step's reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from openo3.model.packing import Pack, collate, model_inputs


@dataclass(frozen=True)
class Sampling:
    """How to decode: temperature 0 is greedy, `n` answers per prompt, reproducible for a `seed`."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Generation:
    """A branch's new tokens, the ending token included if it came, and their log-probabilities under
    the sampling temperature (before the top-p cut)."""

    ids: list[int]
    logprobs: list[float]


class GrowingLayer(DynamicLayer):
    """A cache layer that grows in place: appending a step copies that step, not the whole cache."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self._length = 0
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self._length + key_states.shape[-2]
        if self._buffers is None or end > self._buffers[0].shape[-2]:
            room = list(key_states.shape)
            room[-2] = end * 3 // 2 + 64
            grown = (key_states.new_zeros(room), value_states.new_zeros(room))
            if self._buffers is not None:
                for new, old in zip(grown, self._buffers, strict=True):
                    new[..., : self._length, :] = old[..., : self._length, :]
            self._buffers = grown
        self._buffers[0][..., self._length : end, :] = key_states
        self._buffers[1][..., self._length : end, :] = value_states
        self._length = end
        self.keys, self.values = (buffer[..., :end, :] for buffer in self._buffers)
        return self.keys, self.values


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    packs: Sequence[Pack],
    sampling: Sampling,
    *,
    image_token: int,
    pad_token: int,
    end_tokens: Sequence[int],
    merge: int,
    generator: torch.Generator,
) -> list[list[Generation]]:
    """Continue every branch of every pack; branches bring their questions as `context_ids`, no targets.

    `image_token` is never chosen: it stands for a patch, and a text that is trained on later must not
    ask for one. Returns one list per pack with `sampling.n` generations for each of its branches, in order.
    """
    device = model.device
    prefixes = [Pack(pack.prefix_ids, pack.grids, pack.pixel_values) for pack in packs]
    batch = collate(prefixes, image_token=image_token, pad_token=pad_token, merge=merge)
    owner = batch["segments"].to(device)
    next_position = batch["position_ids"].amax(dim=(0, 2)).to(device) + 1
    del batch["labels"]
    cache = Cache(layers=[GrowingLayer() for _ in range(model.config.get_text_config().num_hidden_layers)])
    model.model(**model_inputs(model, batch), past_key_values=cache, use_cache=True)

    logits, owner, positions, branch = _read_contexts(model, cache, packs, owner, next_position, sampling.n)
    written: list[list[Generation]] = [
        [Generation([], []) for _ in range(len(pack.branches) * sampling.n)] for pack in packs
    ]
    ends = set(end_tokens)
    for left in reversed(range(sampling.max_new_tokens)):
        tokens, logprobs = _choose(logits, sampling, image_token, generator)
        keep: list[list[int]] = []
        for row, (ids, scores) in enumerate(zip(tokens.tolist(), logprobs.tolist(), strict=True)):
            keep.append([])
            for column, number in enumerate(branch[row].tolist()):
                if number < 1:
                    continue
                generation = written[row][number - 1]
                generation.ids.append(ids[column])
                generation.logprobs.append(scores[column])
                if ids[column] not in ends:
                    keep[row].append(column)
        width = max(map(len, keep))
        if left == 0 or width == 0:
            break
        tokens, branch, positions = _still_open(keep, width, tokens, branch, positions + 1)
        owner = torch.cat([owner, branch], dim=1)
        logits = _step(model, cache, tokens, positions, owner, branch)
    return written


def _read_contexts(
    model: PreTrainedModel,
    cache: Cache,
    packs: Sequence[Pack],
    owner: torch.Tensor,
    next_position: torch.Tensor,
    copies: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Read each branch's question `copies` times; the first open slots, `[B, A]` all, and their logits."""
    device = owner.device
    rows: list[tuple[list[int], list[int], list[int], list[int]]] = []
    for pack in packs:
        ids: list[int] = []
        owners: list[int] = []
        offsets: list[int] = []
        last: list[int] = []
        for number in range(len(pack.branches) * copies):
            context = pack.branches[number // copies].context_ids
            ids += context
            owners += [number + 1] * len(context)
            offsets += range(len(context))
            last.append(len(ids) - 1)
        rows.append((ids, owners, offsets, last))
    tokens, owners, offsets = (
        _stack([row[part] for row in rows], fill, device) for part, fill in ((0, 0), (1, -1), (2, 0))
    )
    last = _stack([row[3] for row in rows], 0, device)
    branch = _stack([list(range(1, len(row[3]) + 1)) for row in rows], -1, device)
    positions = next_position[:, None] + offsets
    owner = torch.cat([owner, owners], dim=1)
    logits = _step(model, cache, tokens, positions, owner, owners, last)
    return logits, owner, positions.gather(1, last), branch


def _stack(rows: Sequence[Sequence[int]], fill: int, device: torch.device) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)


def _step(
    model: PreTrainedModel,
    cache: Cache,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    owner: torch.Tensor,
    asking: torch.Tensor,
    pick: torch.Tensor | None = None,
) -> torch.Tensor:
    """Feed new tokens [B, A] of the branches `asking` [B, A]; logits [B, A or picks, V].

    `owner` [B, K] names every cached slot's branch, the new ones last.
    """
    new, total = tokens.shape[1], owner.shape[1]
    mine = (owner[:, None, :] == 0) | (owner[:, None, :] == asking[:, :, None])
    order = torch.arange(total, device=owner.device)
    causal = order[None, :] <= order[total - new :, None]
    itself = order[None, :] == order[total - new :, None]
    mask = ((mine & causal & (owner >= 0)[:, None, :]) | itself)[:, None]
    hidden = model.model(
        input_ids=tokens,
        position_ids=positions[None].expand(3, -1, -1),
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    if pick is not None:
        hidden = hidden.gather(1, pick[..., None].expand(-1, -1, hidden.shape[-1]))
    return model.lm_head(hidden)


def _choose(
    logits: torch.Tensor, sampling: Sampling, never: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Next tokens [B, A], not `never`, and their log-probabilities."""
    scores = F.log_softmax(logits.float() / (sampling.temperature or 1.0), dim=-1)
    allowed = scores.clone()
    allowed[..., never] = -torch.inf
    if sampling.temperature == 0:
        tokens = allowed.argmax(dim=-1)
        return tokens, scores.gather(-1, tokens[..., None]).squeeze(-1)
    weights = allowed.softmax(dim=-1)
    if sampling.top_p < 1:
        ranked, index = weights.sort(dim=-1, descending=True)
        ranked = ranked.masked_fill(ranked.cumsum(-1) - ranked > sampling.top_p, 0)
        weights = torch.zeros_like(weights).scatter(-1, index, ranked)
    flat = torch.multinomial(weights.flatten(0, 1), 1, generator=generator)
    tokens = flat.view(logits.shape[:2])
    return tokens, scores.gather(-1, tokens[..., None]).squeeze(-1)


def _still_open(
    keep: list[list[int]], width: int, *tensors: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Columns of the branches that go on, [B, width]; a row with fewer gets slots nobody owns (-1)."""
    device = tensors[0].device
    index = _stack([*keep, [0] * width], 0, device)[:-1]
    open_slot = torch.tensor([[column < len(row) for column in range(width)] for row in keep], device=device)
    tokens, branch, positions = (tensor.gather(1, index) for tensor in tensors)
    return tokens, branch.masked_fill(~open_slot, -1), positions
