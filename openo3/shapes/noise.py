"""Errors of labels that come from a model, as STGR's reasoning does, put into exact ones on purpose.

Supervised training then teaches the form of the evidence and only roughly its place, which is what
reinforcement learning against exact truth can improve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openo3.core.geometry import Span
from openo3.core.schema import Box

if TYPE_CHECKING:
    import numpy as np

SMALLEST = 0.02
"""A box keeps at least this much of the frame's sides."""


@dataclass(frozen=True)
class LabelNoise:
    """How wrong labels are: loose in space and time, and some times are off.

    Each side of a box moves by a normal error of `box_sigma`, outward by `box_loosen` on average, both in
    units of the frame's sides. The ends of a span move likewise, by `span_sigma_s` and `span_loosen_s`, in
    half seconds. In a share `time_share` of the labels a claim's time is off by `time_shift_s`.
    """

    box_sigma: float = 0.02
    box_loosen: float = 0.04
    span_sigma_s: float = 0.5
    span_loosen_s: float = 1.0
    time_share: float = 0.15
    time_shift_s: float = 1.0

    def box(self, box: Box, rng: np.random.Generator) -> Box:
        """A normalised box with errors, still inside the frame and never inverted."""
        outward = rng.normal(self.box_loosen, self.box_sigma, size=4) * (-1, -1, 1, 1)
        x1, y1, x2, y2 = (outward + box).clip(0.0, 1.0)
        (x1, x2), (y1, y2) = _interval(x1, x2), _interval(y1, y2)
        return x1, y1, x2, y2

    def span(self, span: Span, duration_s: float, rng: np.random.Generator) -> Span:
        """A span with errors, still inside the clip and at least half a second long."""
        outward = (2 * rng.normal(self.span_loosen_s, self.span_sigma_s, size=2)).round() / 2
        start = float((span[0] - outward[0]).clip(0.0, duration_s - 0.5))
        return start, float((span[1] + outward[1]).clip(start + 0.5, duration_s))

    def shift_s(self, rng: np.random.Generator) -> float:
        """By how much a label's time is off: mostly 0."""
        wrong, sign = rng.random() < self.time_share, rng.choice((-1.0, 1.0))
        return self.time_shift_s * sign if wrong else 0.0


def _interval(low: float, high: float) -> Span:
    """The two in order, at least `SMALLEST` apart, within 0-1."""
    low, high = min(low, high), max(low, high)
    if high - low < SMALLEST:
        low = min(max((low + high - SMALLEST) / 2, 0.0), 1.0 - SMALLEST)
        high = low + SMALLEST
    return float(low), float(high)
