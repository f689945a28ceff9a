"""Continuous batching: answers join and leave while others are being written.

    batch = ContinuousBatch(model, encoder)
    batch.join([row])                 reads the prompts of new rows, beside those that are being written
    batch.step()                      one more token for every open answer
    row.written, row.done

Every row has its own sampling settings and random numbers, so an answer does not depend on the rows beside
it, except for rounding. When rows join or leave, the cache is copied without the slots that nobody sees any
more, so it does not grow with the time that the server runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel

from openo3.model.decode_step import SlottedLayer, Steps, open_cache
from openo3.model.decoding import Generation, Sampling, choose, read_prompts
from openo3.model.encode import Encoded, PromptEncoder
from openo3.model.packing import Branch, Pack


@dataclass(eq=False)
class Row:
    """One prompt and its `sampling.n` answers so far; `open` are the numbers of those still being written."""

    encoded: Encoded
    sampling: Sampling
    written: list[Generation] = field(init=False)
    open: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.written = [Generation([], []) for _ in range(self.sampling.n)]
        self.open = [*range(self.sampling.n)]

    @property
    def done(self) -> bool:
        return not self.open

    @property
    def pack(self) -> Pack:
        """As one branch for each answer."""
        branch = Branch(self.encoded.context_ids, ())
        vision = self.encoded.vision
        return Pack(self.encoded.prefix_ids, vision.grids, vision.pixel_values, [branch] * self.sampling.n)


@dataclass
class _State:
    """Rows in the cache. `layers` are keys and values, each [B, heads, slots, head_dim]; the others as in
    `Steps`. `logits` [B, A, V] choose the next tokens."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    owner: torch.Tensor
    branch: torch.Tensor
    positions: torch.Tensor
    logits: torch.Tensor

    def part(self, rows: Sequence[int], columns: Sequence[Sequence[int]]) -> _State:
        """These rows with these columns of each, without the slots that none of the columns sees."""
        device = self.owner.device
        row = torch.tensor(rows, device=device)
        width = max(map(len, columns))
        column = torch.tensor([[*each, *[-1] * (width - len(each))] for each in columns], device=device)
        at = column.clamp(min=0)
        branch = self.branch[row].gather(1, at).masked_fill(column < 0, -1)
        owner = self.owner[row]
        seen = (owner == 0) | ((owner[:, None] == branch[..., None]) & (branch >= 0)[..., None]).any(1)
        most = int(seen.sum(1).max())
        slot = (~seen).int().sort(dim=1, stable=True).indices[:, :most]  # seen ones first, in their order
        return _State(
            [(_slots(keys[row], slot), _slots(values[row], slot)) for keys, values in self.layers],
            owner.gather(1, slot).masked_fill(~seen.gather(1, slot), -1),
            branch,
            self.positions[row].gather(1, at),
            self.logits[row].gather(1, at[..., None].expand(-1, -1, self.logits.shape[-1])),
        )

    def with_rows(self, other: _State) -> _State:
        slots = max(self.owner.shape[1], other.owner.shape[1])
        columns = max(self.branch.shape[1], other.branch.shape[1])
        pairs = zip(self.layers, other.layers, strict=True)
        return _State(
            [
                (_joined(keys, more_keys, slots, 2), _joined(values, more_values, slots, 2))
                for (keys, values), (more_keys, more_values) in pairs
            ],
            _joined(self.owner, other.owner, slots, 1, -1),
            _joined(self.branch, other.branch, columns, 1, -1),
            _joined(self.positions, other.positions, columns, 1),
            _joined(self.logits, other.logits, columns, 1),
        )


class ContinuousBatch:
    """The rows that are being written. One thread may use it at a time."""

    def __init__(self, model: PreTrainedModel, encoder: PromptEncoder) -> None:
        self.model, self.encoder = model, encoder
        self.rows: list[Row] = []
        self._generators: dict[Row, torch.Generator] = {}
        self._state: _State | None = None
        self._steps: Steps | None = None

    @property
    def slots(self) -> int:
        """The length of a row in the cache, in tokens."""
        return 0 if self._state is None else self._state.owner.shape[1]

    @torch.inference_mode()
    def join(self, rows: Sequence[Row]) -> None:
        """Read the prompts of these rows; the next `step` gives their first tokens."""
        read = read_prompts(
            self.model,
            [row.pack for row in rows],
            1,
            image_token=self.encoder.image_token_id,
            pad_token=self.encoder.tokenizer.pad_token_id,
            merge=self.encoder.merge,
        )
        layers = _layers(read.cache, read.slots.filled)
        state = _State(layers, read.owner, read.branch, read.positions, read.logits)
        before = self._settle()
        self._state = state if before is None else before.with_rows(state)
        for row in rows:
            self._generators[row] = torch.Generator(self.model.device).manual_seed(row.sampling.seed)
        self.rows += rows

    def leave(self, row: Row) -> None:
        """Write no more of this row; its answers stay as they are."""
        if row in self.rows:
            self._keep([[] if each is row else [*range(len(each.open))] for each in self.rows])
        row.open.clear()

    @torch.inference_mode()
    def step(self) -> None:
        """Write one token of every open answer. Rows that are done leave."""
        if self._state is None:
            return
        logits = self._state.logits
        columns: list[list[int]] = []
        tokens = torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)
        for index, row in enumerate(self.rows):
            chosen, logprobs = choose(
                logits[index : index + 1, : len(row.open)],
                row.sampling,
                self.encoder.image_token_id,
                self._generators[row],
            )
            tokens[index, : len(row.open)] = chosen[0]
            columns.append(self._write(row, chosen[0].tolist(), logprobs[0].tolist()))
        if any(len(left) < len(row.open) for left, row in zip(columns, self.rows, strict=True)):
            tokens = self._chosen(tokens, columns)
            self._keep(columns)
        if self._state is not None:
            self._feed(self._state, tokens)

    def close(self, row: Row, number: int) -> None:
        """Write no more of answer `number` of a row."""
        columns = [[*range(len(each.open))] for each in self.rows]
        if number in row.open:
            columns[self.rows.index(row)].remove(row.open.index(number))
            self._keep(columns)

    def _write(self, row: Row, ids: Sequence[int], logprobs: Sequence[float]) -> list[int]:
        """Append the tokens; the columns that go on."""
        left = []
        for column, number in enumerate(row.open):
            generation = row.written[number]
            generation.ids.append(ids[column])
            generation.logprobs.append(logprobs[column])
            ended = ids[column] in self.encoder.end_ids
            if not ended and len(generation.ids) < row.sampling.max_new_tokens:
                left.append(column)
        return left

    @staticmethod
    def _chosen(tokens: torch.Tensor, columns: Sequence[Sequence[int]]) -> torch.Tensor:
        """The tokens of the columns that go on, as `_keep` arranges them."""
        listed = tokens.tolist()
        left = [[row[column] for column in kept] for row, kept in zip(listed, columns, strict=True) if kept]
        width = max(map(len, left), default=0)
        return torch.tensor([[*row, *[0] * (width - len(row))] for row in left], device=tokens.device)

    @torch.inference_mode()
    def _keep(self, columns: Sequence[Sequence[int]]) -> None:
        """Go on with these columns of each row; a row without any leaves."""
        state = self._settle()
        kept = [index for index, left in enumerate(columns) if left]
        for row, left in zip(self.rows, columns, strict=True):
            row.open[:] = [row.open[column] for column in left]
        self._state = state.part(kept, [columns[index] for index in kept]) if state and kept else None
        self.rows = [self.rows[index] for index in kept]
        self._generators = {row: self._generators[row] for row in self.rows}

    @torch.inference_mode()
    def _feed(self, state: _State, tokens: torch.Tensor) -> None:
        if self._steps is None:
            cache, slots = open_cache(self.model)
            slots.take(state.owner.shape[1])
            for layer, (keys, values) in zip(cache.layers, state.layers, strict=True):
                assert isinstance(layer, SlottedLayer)
                layer.update(keys, values)
            state.layers = []  # now in the cache
            # Recording a step costs many of them, and rows come and go
            self._steps = Steps(
                self.model, cache, slots, state.owner, state.branch, state.positions, fused=False
            )
        state.logits = self._steps(tokens)
        state.positions = self._steps.positions
        state.owner = torch.cat([state.owner, state.branch], dim=1)

    @torch.inference_mode()
    def _settle(self) -> _State | None:
        """The rows, taken out of the cache in which they were written."""
        if self._steps is not None and self._state is not None:
            self._state.layers = _layers(self._steps.cache, self._steps.slots.filled)
            self._steps = None
        return self._state


def _layers(cache: Cache, filled: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of the filled slots."""
    layers = []
    for layer in cache.layers:
        assert isinstance(layer, SlottedLayer)
        assert layer.keys is not None
        assert layer.values is not None
        layers.append((layer.keys[:, :, :filled], layer.values[:, :, :filled]))
    return layers


def _slots(tensor: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
    """[B, heads, slots, head_dim] -> the slots of each row [B, kept] that are asked for."""
    return tensor.gather(2, slot[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3]))


def _joined(first: torch.Tensor, second: torch.Tensor, size: int, dim: int, fill: int = 0) -> torch.Tensor:
    """Concatenated rows, both padded to `size` in `dim`."""

    def padded(tensor: torch.Tensor) -> torch.Tensor:
        after = [0] * (2 * (tensor.dim() - 1 - dim))
        return F.pad(tensor, [*after, 0, size - tensor.shape[dim]], value=fill)

    return torch.cat([padded(first), padded(second)])
