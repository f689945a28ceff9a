"""Boxes and spans: overlap measures and the coordinate spaces in which boxes are written.

Records hold boxes normalised 0-1 of the frame. Models and annotation files write whole numbers: pixels
of a frame of known size (Qwen2.5-VL, TreeVGR, GQA, V-STaR) or thousandths of the frame (Qwen3-VL).
A `BoxSpace` converts at that boundary, in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from openo3.core.schema import Box

Span = tuple[float, float]
"""`(start_s, end_s)` in seconds."""


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes of the same coordinate space, 0 for empty or inverted ones.

    >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if not (width > 0 and height > 0):
        return 0.0
    overlap = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return min(overlap / union, 1.0) if 0 < union < float("inf") else 0.0


def tiou(a: Span, b: Span) -> float:
    """Overlap of two spans over their hull (max end - min start), 0 when they only touch or are inverted.

    Over the hull rather than the union, as V-STaR and the released rewards compute it: two spans apart
    score 0 either way, and for overlapping ones hull and union are equal.

    >>> tiou((0, 4), (2, 6))
    0.3333333333333333
    """
    overlap = min(a[1], b[1]) - max(a[0], b[0])
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return overlap / hull if overlap > 0 and hull < float("inf") else 0.0


@dataclass(frozen=True)
class BoxSpace:
    """A way of writing boxes; `size` is the frame's `(width, height)`, given for pixels only."""

    kind: Literal["normalised", "pixels", "relative_1000"]
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "pixels") != (self.size is not None):
            raise ValueError(f"box space {self.kind!r} with size {self.size!r}: only pixels need one")
        if self.size is not None and min(self.size) <= 0:
            raise ValueError(f"box space of an empty frame: {self.size!r}")

    @property
    def extent(self) -> tuple[float, float]:
        """`(width, height)` of a whole frame in this space's units."""
        if self.size is not None:
            return self.size
        side = 1.0 if self.kind == "normalised" else 1000.0
        return side, side

    def to_normalised(self, box: Box) -> Box:
        """A box of this space, in 0-1 of the frame."""
        width, height = self.extent
        return box[0] / width, box[1] / height, box[2] / width, box[3] / height

    def scaled(self, box: Box) -> Box:
        """A normalised box in this space's units, not rounded."""
        width, height = self.extent
        return box[0] * width, box[1] * height, box[2] * width, box[3] * height

    def from_normalised(self, box: Box) -> Box:
        """A normalised box as this space writes it: whole pixels or thousandths.

        Normalised boxes stay floats, of 9 decimals: far below a pixel, so that a truth that was read
        from pixels scores the same as before, and without the noise of binary fractions.
        """
        if self.kind == "normalised":
            return round(box[0], 9), round(box[1], 9), round(box[2], 9), round(box[3], 9)
        x1, y1, x2, y2 = (round(value) for value in self.scaled(box))
        return x1, y1, x2, y2


NORMALISED = BoxSpace("normalised")
RELATIVE_1000 = BoxSpace("relative_1000")


def pixels(size: tuple[int, int]) -> BoxSpace:
    """Pixels of a frame of this `(width, height)`."""
    return BoxSpace("pixels", (size[0], size[1]))
