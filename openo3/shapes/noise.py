"""Label noise: exact labels get the errors of labels that a model wrote, as those of STGR's reasoning.

Supervised fine-tuning then teaches the form of evidence, but boxes and times only roughly. Reinforcement
learning against exact labels can improve them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openo3.configuration import within
from openo3.core.geometry import Span
from openo3.core.schema import Box

if TYPE_CHECKING:
    import numpy as np

MIN_SIDE = 0.02
"""The smallest side of a noisy box, as a share of the frame."""


@dataclass(frozen=True)
class LabelNoise:
    """The size of label errors in space and time.

    Each side of a box moves outward by a normally distributed distance with mean `box_loosen` and standard
    deviation `box_sigma`, in units of the frame's sides. The ends of a span move likewise by `span_loosen_s`
    and `span_sigma_s`, rounded to half seconds. In a share `time_share` of the labels, the time of a claim is
    wrong by `time_shift_s`.
    """

    box_sigma: float = 0.02
    box_loosen: float = 0.04
    span_sigma_s: float = 0.5
    span_loosen_s: float = 1.0
    time_share: float = 0.15
    time_shift_s: float = 1.0

    def __post_init__(self) -> None:
        within("box_sigma", self.box_sigma, at_least=0)
        within("span_sigma_s", self.span_sigma_s, at_least=0)
        within("time_share", self.time_share, at_least=0, at_most=1)

    def box(self, box: Box, rng: np.random.Generator) -> Box:
        """The normalised box with errors, clipped to the frame and never inverted."""
        outward = rng.normal(self.box_loosen, self.box_sigma, size=4) * (-1, -1, 1, 1)
        x1, y1, x2, y2 = (outward + box).clip(0.0, 1.0)
        (x1, x2), (y1, y2) = _interval(x1, x2), _interval(y1, y2)
        return x1, y1, x2, y2

    def span(self, span: Span, duration_s: float, rng: np.random.Generator) -> Span:
        """The span with errors, clipped to the clip and at least half a second long."""
        outward = (2 * rng.normal(self.span_loosen_s, self.span_sigma_s, size=2)).round() / 2
        start = float((span[0] - outward[0]).clip(0.0, duration_s - 0.5))
        return start, float((span[1] + outward[1]).clip(start + 0.5, duration_s))

    def shift_s(self, rng: np.random.Generator) -> float:
        """The error of a label's time in seconds, mostly 0."""
        wrong, sign = rng.random() < self.time_share, rng.choice((-1.0, 1.0))
        return self.time_shift_s * sign if wrong else 0.0


def _interval(low: float, high: float) -> Span:
    """The interval in order, at least `MIN_SIDE` long and within 0-1."""
    low, high = min(low, high), max(low, high)
    if high - low < MIN_SIDE:
        low = min(max((low + high - MIN_SIDE) / 2, 0.0), 1.0 - MIN_SIDE)
        high = low + MIN_SIDE
    return float(low), float(high)
