"""Hiding parts of a frame: an area filled from what surrounds it, or everything but some areas.

    area = area_of((0.1, 0.2, 0.4, 0.6), image.size, margin=0.1)
    hide(image, [area])                      the object painted over
    elsewhere(area, image.size, rng)         an area of the same size at another place

An area is `(left, top, right, bottom)` in whole pixels of the frame, right and bottom excluded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from openo3.core.schema import Box

Area = tuple[int, int, int, int]
Fill = Literal["border", "surroundings", "grey"]
FILLS: tuple[Fill, ...] = ("border", "surroundings", "grey")

GREY = (128, 128, 128)
TRIES = 64
"""How many places are tried for an area that should not overlap another."""


def area_of(box: Box, size: tuple[int, int], margin: float = 0.0) -> Area | None:
    """The pixels of a normalised box in a frame of this `(W, H)`; None if none are inside.

    On each side the box grows by `margin` of its own width or height first, and by a pixel at least unless
    `margin` is 0: boxes of models are seldom exact, and a rim that stays would give an object away.
    """
    width, height = size
    inside = [min(max(value, 0.0), 1.0) * side for value, side in zip(box, (width, height) * 2, strict=True)]
    left, top, right, bottom = inside
    if left >= right or top >= bottom:
        return None
    across, down = (max(1.0, margin * length) if margin else 0.0 for length in (right - left, bottom - top))
    return (
        max(0, math.floor(left - across)),
        max(0, math.floor(top - down)),
        min(width, math.ceil(right + across)),
        min(height, math.ceil(bottom + down)),
    )


def hide(image: Image.Image, areas: Sequence[Area], fill: Fill = "border") -> Image.Image:
    """The picture with the areas painted over, one after the other.

    `border`: each pixel is the mean of the four pixels just outside the area in its row and column, weighted
    by their nearness; sides at the edge of the picture do not count. A smooth background is continued, and
    nothing is invented; but an object that sticks out of the area is smeared into it. `surroundings`: the
    median colour of what is around the area, as far out as it is wide and high, which such an object does not
    change. `grey`, and an area that is the whole picture: plain grey.
    """
    pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    for area in areas:
        left, top, right, bottom = area
        pixels[top:bottom, left:right] = _painters[fill](pixels, area)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def only(image: Image.Image, areas: Sequence[Area]) -> Image.Image:
    """The picture with nothing but the areas on it; the rest is grey."""
    pixels = np.asarray(image.convert("RGB"))
    shown = np.empty_like(pixels)
    shown[:] = GREY
    for left, top, right, bottom in areas:
        shown[top:bottom, left:right] = pixels[top:bottom, left:right]
    return Image.fromarray(shown)


def elsewhere(area: Area, size: tuple[int, int], rng: np.random.Generator) -> Area:
    """An area of the same size at a random place in a frame of this `(W, H)`.

    Places that do not overlap `area` are preferred; if none is found, the tried one that overlaps it least.
    """
    left, top, right, bottom = area
    width, height = right - left, bottom - top
    best: tuple[int, Area] | None = None
    for _ in range(TRIES):
        x, y = int(rng.integers(size[0] - width + 1)), int(rng.integers(size[1] - height + 1))
        place = (x, y, x + width, y + height)
        shared = _overlap(place, area)
        if best is None or shared < best[0]:
            best = shared, place
        if not shared:
            break
    assert best is not None  # TRIES is not 0
    return best[1]


def _overlap(a: Area, b: Area) -> int:
    """How many pixels two areas share."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def _from_border(pixels: NDArray[np.float32], area: Area) -> NDArray[np.float32]:
    """[height, width, 3] for the area of `pixels` [H, W, 3]."""
    left, top, right, bottom = area
    height, width = bottom - top, right - left
    down = np.arange(1, height + 1, dtype=np.float32)[:, None, None]
    across = np.arange(1, width + 1, dtype=np.float32)[None, :, None]
    sides = []
    if left > 0:
        sides.append((pixels[top:bottom, left - 1][:, None], across))
    if right < pixels.shape[1]:
        sides.append((pixels[top:bottom, right][:, None], across[:, ::-1]))
    if top > 0:
        sides.append((pixels[top - 1, left:right][None], down))
    if bottom < pixels.shape[0]:
        sides.append((pixels[bottom, left:right][None], down[::-1]))
    if not sides:
        return np.broadcast_to(np.array(GREY, dtype=np.float32), (height, width, 3))
    total = np.zeros((height, width, 3), dtype=np.float32)
    weight = np.zeros((height, width, 1), dtype=np.float32)
    for values, away in sides:
        total += values / away
        weight += 1 / away
    return total / weight


def _around(pixels: NDArray[np.float32], area: Area) -> NDArray[np.float32]:
    """[3]: the median colour of the pixels around an area of `pixels` [H, W, 3]."""
    left, top, right, bottom = area
    width, height = right - left, bottom - top
    wide = np.s_[max(0, top - height) : bottom + height, max(0, left - width) : right + width]
    outside = np.ones(pixels.shape[:2], dtype=bool)
    outside[top:bottom, left:right] = False
    found = pixels[wide][outside[wide]]
    return np.median(found, axis=0).astype(np.float32) if len(found) else np.array(GREY, dtype=np.float32)


def _grey(pixels: NDArray[np.float32], area: Area) -> NDArray[np.float32]:
    return np.array(GREY, dtype=np.float32)


_painters: dict[Fill, Callable[[NDArray[np.float32], Area], NDArray[np.float32]]] = {
    "border": _from_border,
    "surroundings": _around,
    "grey": _grey,
}
