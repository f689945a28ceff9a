"""Batched decoding of branches: every answer about one prefix grows in the prefix's own row.

A row of the key/value cache holds a prefix once, then the tokens of all its branches as they come, one
per branch and step (`steps`). Who may see what is a matter of the mask, exactly as in training (`packing`).
Next to a row per answer this keeps one copy of the frames instead of N, in memory and in each step's reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel

from openo3.model.decode_step import Slots, Steps, open_cache
from openo3.model.fused_layers import fused_layers
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
    fused: bool = True,
    watch: Callable[[list[list[Generation]]], None] | None = None,
) -> list[list[Generation]]:
    """Continue every branch of every pack; branches bring their questions as `context_ids`, no targets.

    `image_token` is never chosen: it stands for a patch, and a text that is trained on later must not
    ask for one. `fused`: use `fused_layers` where that is possible. `watch` is called after every step with
    what is written so far. Returns one list per pack with `sampling.n` generations for each of its
    branches, in order.
    """
    with fused_layers(model, enabled=fused) as is_fused:
        read = read_prompts(
            model, packs, sampling.n, image_token=image_token, pad_token=pad_token, merge=merge
        )
        steps = Steps(model, read.cache, read.slots, read.owner, read.branch, read.positions, fused=is_fused)
        pick = partial(choose, sampling=sampling, never=image_token, generator=generator)
        return _write(packs, read.logits, steps, pick, sampling, set(end_tokens), watch)


@dataclass(frozen=True)
class ReadPrompts:
    """Prompts in the cache, before their first new token.

    `owner` [B, slots] and `branch`, `positions` [B, A] are as in `Steps`; `logits` [B, A, V] are those of the
    first new tokens. A column is one branch of a row, in the order of the branches.
    """

    cache: Cache
    slots: Slots
    owner: torch.Tensor
    branch: torch.Tensor
    positions: torch.Tensor
    logits: torch.Tensor


def read_prompts(
    model: PreTrainedModel,
    packs: Sequence[Pack],
    copies: int,
    *,
    image_token: int,
    pad_token: int,
    merge: int,
) -> ReadPrompts:
    """Read every pack's prefix once, then each branch's question `copies` times."""
    prefixes = [Pack(pack.prefix_ids, pack.grids, pack.pixel_values) for pack in packs]
    batch = collate(prefixes, image_token=image_token, pad_token=pad_token, merge=merge)
    owner = batch["segments"].to(model.device)
    next_position = batch["position_ids"].amax(dim=(0, 2)).to(model.device) + 1
    del batch["labels"]
    cache, slots = open_cache(model)
    slots.take(owner.shape[1])
    model.model(**model_inputs(model, batch), past_key_values=cache, use_cache=True)
    logits, owner, positions, branch = _read_contexts(
        model, cache, slots, packs, owner, next_position, copies
    )
    return ReadPrompts(cache, slots, owner, branch, positions, logits)


def _write(
    packs: Sequence[Pack],
    logits: torch.Tensor,
    steps: Steps,
    pick: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    sampling: Sampling,
    ends: set[int],
    watch: Callable[[list[list[Generation]]], None] | None,
) -> list[list[Generation]]:
    """Pick tokens and feed them, until every branch has ended."""
    written: list[list[Generation]] = [
        [Generation([], []) for _ in range(len(pack.branches) * sampling.n)] for pack in packs
    ]
    # The branch that is written in each column of a row, None where it has ended
    numbers: list[list[int | None]] = [[*range(len(row))] for row in written]
    for left in reversed(range(sampling.max_new_tokens)):
        tokens, logprobs = pick(logits)
        for row, (ids, scores) in enumerate(zip(tokens.tolist(), logprobs.tolist(), strict=True)):
            for column, number in enumerate(numbers[row]):
                if number is None:
                    continue
                written[row][number].ids.append(ids[column])
                written[row][number].logprobs.append(scores[column])
                if ids[column] in ends:
                    numbers[row][column] = None
        if watch:
            watch(written)
        keep = [[column for column, number in enumerate(row) if number is not None] for row in numbers]
        width = max(map(len, keep))
        if left == 0 or width == 0:
            break
        if width < tokens.shape[1]:
            numbers = [[number for number in row if number is not None] for row in numbers]
            tokens = steps.keep(keep, width, tokens)
        logits = steps(tokens)
    return written


def _read_contexts(
    model: PreTrainedModel,
    cache: Cache,
    slots: Slots,
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
        numbers: list[int] = []
        steps: list[int] = []
        ends: list[int] = []
        for number in range(len(pack.branches) * copies):
            context = pack.branches[number // copies].context_ids
            ids += context
            numbers += [number + 1] * len(context)
            steps += range(len(context))
            ends.append(len(ids) - 1)
        rows.append((ids, numbers, steps, ends))
    tokens, owners, offsets = (
        _stack([row[part] for row in rows], fill, device) for part, fill in ((0, 0), (1, -1), (2, 0))
    )
    last = _stack([row[3] for row in rows], 0, device)
    branch = _stack([list(range(1, len(row[3]) + 1)) for row in rows], -1, device)
    positions = next_position[:, None] + offsets
    owner = torch.cat([owner, owners], dim=1)
    slots.take(tokens.shape[1])
    hidden = model.model(
        input_ids=tokens,
        position_ids=positions[None].expand(3, -1, -1),
        attention_mask=_context_mask(owner, owners),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    asked = hidden.gather(1, last[..., None].expand(-1, -1, hidden.shape[-1]))
    return model.lm_head(asked), owner, positions.gather(1, last), branch


def _context_mask(owner: torch.Tensor, asking: torch.Tensor) -> torch.Tensor:
    """[B, 1, new, all] bool: the last tokens, of the branches `asking` [B, new], see the prefix and their own
    branch in all slots, whose branches are `owner` [B, all]."""
    new, total = asking.shape[1], owner.shape[1]
    mine = (owner[:, None, :] == 0) | (owner[:, None, :] == asking[:, :, None])
    order = torch.arange(total, device=owner.device)
    causal = order[None, :] <= order[total - new :, None]
    return (mine & causal)[:, None]


def _stack(rows: Sequence[Sequence[int]], fill: int, device: torch.device) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)


def choose(
    logits: torch.Tensor, sampling: Sampling, never: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Next tokens [B, A], not `never`, and their log-probabilities."""
    scores = F.log_softmax(logits.float() / (sampling.temperature or 1.0), dim=-1)
    allowed = scores.clone()
    allowed[..., never] = -torch.inf
    if sampling.temperature == 0:
        tokens = allowed.argmax(dim=-1)
    else:
        weights = allowed.softmax(dim=-1).flatten(0, 1)
        drawn = _draw(weights, sampling.top_p, generator, by_sorting=logits.is_cuda)
        tokens = drawn.view(logits.shape[:2])
    return tokens, scores.gather(-1, tokens[..., None]).squeeze(-1)


def _draw(
    weights: torch.Tensor, top_p: float, generator: torch.Generator, *, by_sorting: bool
) -> torch.Tensor:
    """One token for each row of `weights` [N, V], from the smallest set of likely ones that reaches `top_p`.

    A token outside that set is drawn again. On a CPU that takes a few rounds of drawing. A GPU would wait for
    its host in each of them, so there the few rows concerned are sorted; sorting all rows would take a large
    part of a step's time.
    """
    tokens = torch.multinomial(weights, 1, generator=generator)
    if top_p >= 1:
        return tokens
    outside = _outside(weights, tokens, top_p)
    if by_sorting:
        rows = outside.squeeze(1).nonzero().squeeze(1)
        if len(rows):
            tokens[rows] = _draw_sorted(weights[rows], top_p, generator)
        return tokens
    left = weights
    while outside.any():
        left = left.masked_fill(outside & (weights <= weights.gather(1, tokens)), 0)  # the set is likelier
        tokens = torch.where(outside, torch.multinomial(left, 1, generator=generator), tokens)
        outside = _outside(weights, tokens, top_p)
    return tokens


def _outside(weights: torch.Tensor, tokens: torch.Tensor, top_p: float) -> torch.Tensor:
    """Whether the tokens [N, 1] lie outside the set: what is likelier reaches `top_p` without them."""
    likelier = weights > weights.gather(1, tokens)
    return (weights * likelier).sum(1, keepdim=True) > top_p


def _draw_sorted(weights: torch.Tensor, top_p: float, generator: torch.Generator) -> torch.Tensor:
    """Tokens [N, 1] from the set, found by sorting."""
    ordered, ids = weights.sort(dim=1, descending=True)
    before = ordered.cumsum(1) - ordered
    drawn = torch.multinomial(ordered.masked_fill(before > top_p, 0), 1, generator=generator)
    return ids.gather(1, drawn)
