"""How close two texts are in their words: the free-form answer reward and the default judge."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

_ROUGE_CHARS = 20_000  # several times what 768 tokens can say; the longest common subsequence is quadratic


def rouge(truth: str, said: str) -> float:
    """Mean of the F-measures of ROUGE-1, -2 and -L, stemmed, of the first 20,000 characters."""
    scores = _rouge_scorer().score(truth[:_ROUGE_CHARS], said[:_ROUGE_CHARS])
    return min(math.fsum(value.fmeasure for value in scores.values()) / len(scores), 1.0)


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # imports nltk, which takes seconds

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
