"""The order of packs in which all processes of a step have as many tokens, since the others wait for the
busiest one.

Packs are indivisible, so they are exchanged: within a step where each process has several packs, which leaves
every step's packs the same, else between the few steps in which a process has `COMPARED` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean

import torch
from torch.utils.data import Sampler

COMPARED = 8
"""How many packs of a process are compared with those of the others. More would be more equal, and would sort
the steps further by length."""


@dataclass(frozen=True, eq=False)
class BalancedOrder(Sampler[int]):
    """Rows of `tokens`, each once an epoch, for `processes` that take batches of `batch` rows in turn and
    update after `accumulation` of them.

    `epoch` gives the number of the epoch that begins, so that a resumed run has the order of an uninterrupted
    one. The last batches, too few for all processes, are in random order.
    """

    tokens: Sequence[int]
    processes: int
    batch: int
    accumulation: int
    seed: int
    epoch: Callable[[], int]

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[int]:
        random = torch.Generator().manual_seed(self.seed + self.epoch())
        rows = shuffled(len(self.tokens), random)
        per_process = self.batch * self.accumulation
        window = self.processes * per_process * ceil(COMPARED / per_process)
        for start in range(0, len(rows), window):
            yield from self._balanced(rows[start : start + window], random)

    def _balanced(self, rows: Sequence[int], random: torch.Generator) -> Iterator[int]:
        at_once = self.processes * self.batch
        whole = len(rows) // at_once * at_once
        by_length = sorted(rows[:whole], key=lambda row: self.tokens[row])
        for number in shuffled(whole // at_once, random):
            yield from self._dealt(by_length[number * at_once : (number + 1) * at_once])
        yield from rows[whole:]

    def _dealt(self, rows: Sequence[int]) -> Iterator[int]:
        """Rows, sorted by length, as a batch for each process, the batches one after the other: dealt forth
        and back, so that none has the longer row of every round."""
        rounds = [rows[start : start + self.processes] for start in range(0, len(rows), self.processes)]
        for process in range(self.processes):
            for number, dealt in enumerate(rounds):
                yield dealt[process if number % 2 == 0 else -1 - process]


def shuffled(count: int, random: torch.Generator) -> list[int]:
    """The numbers below `count` in random order."""
    return torch.randperm(count, generator=random).tolist()


def busiest(order: Sequence[int], tokens: Sequence[int], processes: int, batch: int) -> float:
    """How many times the mean tokens of a process the busiest one has, the mean over all whole steps of an
    order. 1 is balanced."""
    at_once = processes * batch
    shares = []
    for start in range(0, len(order) - at_once + 1, at_once):
        sums = [
            sum(tokens[row] for row in order[first : first + batch])
            for first in range(start, start + at_once, batch)
        ]
        shares.append(max(sums) / fmean(sums))
    return fmean(shares) if shares else 1.0
