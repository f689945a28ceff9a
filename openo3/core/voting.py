"""Test-time scaling: one answer out of several sampled ones, by majority or by confidence in their evidence.

    answers -> grouped: who says the same -> elect: the group of the greatest weight wins

In a majority vote all weights are equal. In a confidence-aware one (arXiv 2510.20579) the weight of an answer
depends on how relevant its evidence is to the question: 0 not at all, 1 perhaps, 2 clearly. The model rates
it itself (`openo3.model.relevance`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

WEIGHTS = {0: 0.2, 1: 0.6, 2: 1.0}
"""Weight of an answer by the relevance of its evidence."""

UNSUPPORTED = 0.2
"""Weight of an answer without usable evidence."""


@dataclass(frozen=True)
class Votes:
    """How many answers are sampled to a question, and how.

    Raises `ValueError` for numbers with which there is nothing to vote on.
    """

    n: int = 8
    temperature: float = 0.7
    top_p: float = 0.9

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1, got {self.n}")
        if self.temperature <= 0:
            raise ValueError(
                f"temperature must be above 0, got {self.temperature:g}: all answers are the same"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p:g}")


@dataclass(frozen=True)
class Elected:
    """`winner` is the index of the answer that wins, None if none can be read. `confidence` is the winning
    group's share of all weight, that of answers that cannot be read included."""

    winner: int | None
    confidence: float


def grouped(answers: Sequence[str], same: Callable[[str, str], bool]) -> list[int | None]:
    """For each answer the index of the first one that says the same; None for an empty one.

    >>> grouped(["cup", "", "Cup", "jug"], lambda a, b: a.lower() == b.lower())
    [0, None, 0, 3]
    """
    groups: list[int | None] = []
    for index, answer in enumerate(answers):
        firsts = dict.fromkeys(group for group in groups if group is not None)
        found = next((first for first in firsts if same(answers[first], answer)), index)
        groups.append(found if answer else None)
    return groups


def elect(groups: Sequence[int | None], weights: Sequence[float] | None = None) -> Elected:
    """The answer that wins: of the heaviest group the heaviest answer; of equal ones the first.

    `weights` are 1 unless given. Raises `ValueError` if there are not as many as answers.

    >>> elect([0, 1, 1, None])
    Elected(winner=1, confidence=0.5)
    >>> elect([0, 0, 2], [0.2, 0.2, 1.0]).winner
    2
    """
    weights = [1.0] * len(groups) if weights is None else weights
    totals: dict[int, float] = {}
    for group, own in zip(groups, weights, strict=True):
        if group is not None:
            totals[group] = totals.get(group, 0.0) + own
    if not totals:
        return Elected(None, 0.0)
    # rounded, so that three votes of 0.2 equal one of 0.6 and the first given wins
    won = max(totals, key=lambda group: round(totals[group], 9))
    members = [index for index, group in enumerate(groups) if group == won]
    return Elected(max(members, key=lambda index: weights[index]), round(totals[won] / sum(weights), 9))


def weight(relevance: int | None) -> float:
    """The weight of an answer whose evidence is so relevant, None if it has none that is usable."""
    return UNSUPPORTED if relevance is None else WEIGHTS[relevance]
