"""Selective accuracy: how often a model is right if it may leave out the questions it is least sure about.

Nobody knows in which order questions of equal confidence are left out: within such a group accuracy is its
mean. A confidence that says nothing has, at every coverage, the accuracy of all.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openo3.core.metrics import Interval, bootstrap, paired_difference

Array = NDArray[np.float64]
Scored = tuple[ArrayLike, ArrayLike]
"""`(confidence, correct)` of N questions, both `[N]`; `correct` in 0-1."""


def curve(confidence: ArrayLike, correct: ArrayLike) -> list[tuple[float, float]]:
    """`(coverage, accuracy)`, both 0-1, for each level of `confidence` from the highest: only questions of at
    least this confidence are answered. The last point covers all.

    >>> curve([0.9, 0.5, 0.9, 0.1], [1, 1, 0, 0])
    [(0.5, 0.5), (0.75, 0.6666666666666666), (1.0, 0.5)]
    """
    shares, right = _parts(_by_level((confidence, correct), _levels(confidence)).mean(axis=0))
    coverage = shares.cumsum()
    return [(float(x), float(y)) for x, y in zip(coverage, right.cumsum() / coverage, strict=True)]


def area(confidence: ArrayLike, correct: ArrayLike, videos: Sequence[Hashable] | None = None) -> Interval:
    """The area under the curve, which is accuracy averaged over all coverages, with its 95 % interval.

    `videos` is as in `openo3.core.metrics.bootstrap`.

    >>> area([0.9, 0.5], [1, 0]).value, area([0.5, 0.5], [1, 0]).value
    (0.8465735902799727, 0.5)
    """
    [found] = bootstrap(_by_level((confidence, correct), _levels(confidence)), _area, videos=videos)
    return found


def area_difference(one: Scored, other: Scored, videos: Sequence[Hashable] | None = None) -> Interval:
    """How much larger the area of `one` is than that of `other`, for the same questions."""
    levels = _levels(np.concatenate([np.asarray(one[0]), np.asarray(other[0])]))
    [found] = paired_difference(_by_level(one, levels), _by_level(other, levels), _area, videos=videos)
    return found


def _levels(confidence: ArrayLike) -> Array:
    """The values of confidence, the highest first."""
    return np.unique(np.asarray(confidence, dtype=float))[::-1]


def _by_level(scored: Scored, levels: Array) -> Array:
    """`[N, 2L]`: whether a question is of each level, then whether it is and is answered right."""
    confidence, correct = (np.asarray(values, dtype=float) for values in scored)
    member = (confidence[:, None] == levels).astype(float)
    return np.concatenate([member, member * correct[:, None]], axis=1)


def _parts(means: Array) -> tuple[Array, Array]:
    half = means.shape[-1] // 2
    return means[..., :half], means[..., half:]


def _area(means: Array) -> Array:
    """`[..., 2L]` -> `[..., 1]`: the integral over the coverage, level by level.

    A level of share m and accuracy p begins at coverage x, where a share r of all is answered right. Within
    it accuracy is (r + p t) / (x + t) for t from 0 to m, whose integral is p m + (r - p x) ln((x + m) / x).
    """
    shares, right = _parts(means)
    begins, right_before = (np.cumsum(part, axis=-1) - part for part in (shares, right))
    accuracy = np.divide(right, shares, out=np.zeros_like(right), where=shares > 0)
    inner = (shares > 0) & (begins > 1e-12)
    growth = np.divide(begins + shares, begins, out=np.ones_like(begins), where=inner)
    return (right + (right_before - accuracy * begins) * np.log(growth)).sum(axis=-1, keepdims=True)
