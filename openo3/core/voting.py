"""Test-time scaling: one answer out of several sampled ones, by majority or by confidence in their evidence.

For confidence-aware voting the caller crops each answer's evidence boxes at their times and asks the same
model how relevant they are to the question: 0 not at all, 1 somewhat, 2 clearly.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

Answer = TypeVar("Answer", bound=Hashable)

WEIGHTS = {0: 0.2, 1: 0.6, 2: 1.0}
"""Weight of a vote by the relevance of its evidence."""

UNSUPPORTED = 0.2
"""Weight of a vote without usable evidence (arXiv 2510.20579, confidence-aware voting)."""


def majority(answers: Sequence[Answer | None]) -> Answer | None:
    """The most frequent answer; `None` stands for one that could not be read, and has no vote.

    Of several equally frequent ones the first given wins. Without any valid answer there is none.

    >>> majority(["B", None, "A", "A", None]), majority([None, None])
    ('A', None)
    """
    return _heaviest(answers, [1.0] * len(answers))


def confident(answers: Sequence[Answer | None], relevance: Sequence[int | None]) -> Answer | None:
    """The answer of the greatest weight, each vote weighted by its `relevance`, `None` without evidence.

    >>> confident(["A", "A", "B"], [0, None, 2])
    'B'
    """
    return _heaviest(answers, [UNSUPPORTED if given is None else WEIGHTS[given] for given in relevance])


def _heaviest(answers: Sequence[Answer | None], weights: Sequence[float]) -> Answer | None:
    totals: dict[Answer, float] = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            totals[answer] = totals.get(answer, 0.0) + weight
    # rounded, so that three votes of 0.2 equal one of 0.6 and the first given wins
    return max(totals, key=lambda answer: round(totals[answer], 9), default=None)
