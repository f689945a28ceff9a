"""Numbers of a whole benchmark: recall and precision at thresholds, means over records, bootstrap intervals.

Every mean here runs over all records: an answer that is missing or cannot be read scores 0 and still
counts. Per-record scores are `[N]` or `[N, K]` arrays of N records and K scores in 0-1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Statistic = Callable[[NDArray], NDArray]
"""Means of the K scores, `[..., K]`, -> M metrics, `[..., M]`."""

SPAN_THRESHOLDS = (0.3, 0.5, 0.7)
BOX_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
RESAMPLES = 2000


def span_metrics(tious: ArrayLike) -> dict[str, float]:
    """`R1@0.3`, `R1@0.5`, `R1@0.7` and `m_tIoU` of one temporal IoU per record, `[N]`.

    >>> span_metrics([0.5, 0.0])
    {'R1@0.3': 0.5, 'R1@0.5': 0.5, 'R1@0.7': 0.0, 'm_tIoU': 0.25}
    """
    tious = np.asarray(tious, dtype=float)
    recalls = {f"R1@{least}": float(np.mean(tious >= least)) for least in SPAN_THRESHOLDS}
    return {**recalls, "m_tIoU": float(np.mean(tious))}


def box_metrics(vious: Sequence[Sequence[float]]) -> dict[str, float]:
    """`AP@0.1` ... `AP@0.9` and `m_vIoU` of one list of IoUs per record, one IoU for each annotated second.

    A record's AP is the share of its seconds that reach the threshold; records count equally. A record
    without annotated seconds scores 0.

    >>> box_metrics([[1.0, 0.0], [0.6]])["AP@0.7"]
    0.25
    """
    records = [np.asarray(ious if len(ious) else [0.0], dtype=float) for ious in vious]
    shares = {
        f"AP@{least}": float(np.mean([np.mean(ious >= least) for ious in records]))
        for least in BOX_THRESHOLDS
    }
    return {**shares, "m_vIoU": float(np.mean([np.mean(ious) for ious in records]))}


def arithmetic_mean(what: ArrayLike, when: ArrayLike, where: ArrayLike) -> NDArray:
    """V-STaR's AM: the mean of accuracy, temporal and visual IoU."""
    return (np.asarray(what) + np.asarray(when) + np.asarray(where)) / 3


def log_geometric_mean(what: ArrayLike, when: ArrayLike, where: ArrayLike) -> NDArray:
    """V-STaR's LGM, -(ln(1-acc) + ln(1-tIoU) + ln(1-vIoU)) / 3; infinite as soon as one of them is perfect.

    >>> float(log_geometric_mean(0.0, 0.5, 0.0)), float(log_geometric_mean(1.0, 0.5, 0.5))
    (0.23104906018664842, inf)
    """
    with np.errstate(divide="ignore"):
        logs = [np.log(np.maximum(1 - np.asarray(share, dtype=float), 0)) for share in (what, when, where)]
    return 0.0 - (logs[0] + logs[1] + logs[2]) / 3


def finite(value: float) -> float | None:
    """The number for JSON, which knows no infinity: `None` in its place."""
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True)
class Interval:
    """A statistic of all records with the interval that holds it in 95 % of the resamples."""

    value: float
    low: float
    high: float


def with_intervals(found: Mapping[str, Interval], n: int) -> dict[str, Any]:
    """A benchmark's numbers as metrics files hold them: values by name, `intervals`, and `n` records."""
    return {
        **{name: finite(each.value) for name, each in found.items()},
        "intervals": {name: [finite(each.low), finite(each.high)] for name, each in found.items()},
        "n": n,
    }


def _means(values: NDArray) -> NDArray:
    return values


def bootstrap(values: ArrayLike, statistic: Statistic = _means, *, seed: int = 0) -> list[Interval]:
    """95 % percentile intervals of metrics that are functions of the scores' means.

    `values` is `[N, K]`; records are drawn with replacement, all their scores together, so a metric that
    joins several (mLGM) is resampled right. Infinite resamples give an infinite end, not an error.

    >>> bootstrap([[0.0], [1.0], [1.0], [1.0]])
    [Interval(value=0.75, low=0.25, high=1.0)]
    """
    values = _matrix(values)
    low, high = _ends(statistic(_resampled_means(values, seed)))
    middle = statistic(values.mean(axis=0))
    return [Interval(float(m), float(a), float(b)) for m, a, b in zip(middle, low, high, strict=True)]


def paired_difference(
    a: ArrayLike, b: ArrayLike, statistic: Statistic = _means, *, seed: int = 0
) -> list[Interval]:
    """95 % intervals of `statistic(a) - statistic(b)`, for two models that answered the same records.

    Both are resampled with the same records; an interval above 0 says that `a` is better. The difference
    of two infinite metrics is unknown, and so are value or ends that rest on it (NaN).

    >>> paired_difference([[1.0], [0.5]], [[0.5], [0.0]])
    [Interval(value=0.5, low=0.5, high=0.5)]
    """
    a, b = _matrix(a), _matrix(b)
    if a.shape != b.shape:
        raise ValueError(f"paired scores of different records: {a.shape} and {b.shape}")
    joined = np.concatenate([a, b], axis=1)

    def difference(means: NDArray) -> NDArray:
        with np.errstate(invalid="ignore"):
            return statistic(means[..., : a.shape[1]]) - statistic(means[..., a.shape[1] :])

    return bootstrap(joined, difference, seed=seed)


def _matrix(values: ArrayLike) -> NDArray:
    """`[N, K]`, also of one score per record, `[N]`."""
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not len(values):
        raise ValueError(f"no scores of records to resample: shape {values.shape}")
    return values


def _resampled_means(values: NDArray, seed: int) -> NDArray:
    """`[RESAMPLES, K]`: how often each record is drawn follows a multinomial, so means are one product."""
    count = len(values)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return drawn @ values / count


def _ends(statistics: NDArray) -> tuple[NDArray, NDArray]:
    """The 2.5th and 97.5th percentile; taken from the resamples themselves, as infinities do not mix."""
    return tuple(np.percentile(statistics, (2.5, 97.5), axis=0, method="inverted_cdf"))
