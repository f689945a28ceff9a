"""Pictures of a clip for the endpoint: frames with their true times, crops, and a clip of key frames alone.

Every function here is a job for a process of its own (`openo3.media.isolated`), since decoders may crash.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from openo3.core.schema import Box
from openo3.media.decode import Key, SamplingConfig, sample
from openo3.media.ffmpeg import encode
from openo3.media.image import fit_size, resize, to_jpeg
from openo3.media.probe import Media

WHOLE_PIXELS = 2048 * 2048
"""Of a frame that crops are cut out of."""
HELD_FPS, HELD_S = 4, 600
_LARGEST = 8.0  # times that a crop's sides are enlarged


@dataclass(frozen=True)
class Frames:
    """JPEG pictures with their times in seconds, `size` is `(W, H)`; `duration_s` is None for an image."""

    size: tuple[int, int]
    duration_s: float | None
    times_s: tuple[float, ...]
    pictures: tuple[bytes, ...]


def frames(job: tuple[str, SamplingConfig, tuple[float, ...]]) -> Frames:
    """Evenly spread frames, or those at the given times alone. Raises `MediaError`."""
    path, policy, times_s = job
    decoded = sample(path, [Key(time_s) for time_s in times_s], policy)
    shots = [shot for shot in decoded.shots if shot.key or not times_s]
    return Frames(
        decoded.size,
        decoded.duration_s,
        tuple(shot.time_s for shot in shots),
        tuple(to_jpeg(shot.image, policy.jpeg_quality) for shot in shots),
    )


def crop(job: tuple[str, float | None, Box, float, int, int]) -> bytes:
    """What is in a normalised box at a time, with a margin, enlarged to about `pixels`, as JPEG.

    The job: path, time in seconds (None for an image), box, margin as a share of the box, `pixels`, and what
    the sides are multiples of. Raises `MediaError`.
    """
    path, time_s, box, margin, pixels, multiple = job
    whole = SamplingConfig(1.0, 1, 1, WHOLE_PIXELS, 1)
    decoded = sample(path, [] if time_s is None else [Key(time_s)], whole)
    shot = next((shot for shot in decoded.shots if shot.key), decoded.shots[0])
    return to_jpeg(cut(shot.image, box, margin, pixels, multiple), 95)


def cut(image: Image.Image, box: Box, margin: float, pixels: int, multiple: int) -> Image.Image:
    """The part of an image, see `crop`; at least one pixel of it."""
    width, height = image.size
    x1, y1, x2, y2 = (min(max(side, 0.0), 1.0) for side in box)
    wide, high = (x2 - x1) * margin, (y2 - y1) * margin
    left, top = max(0, math.floor((x1 - wide) * width)), max(0, math.floor((y1 - high) * height))
    right, bottom = min(width, math.ceil((x2 + wide) * width)), min(height, math.ceil((y2 + high) * height))
    left, top = min(left, width - 1), min(top, height - 1)
    part = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    scale = min(_LARGEST, math.sqrt(pixels / (part.width * part.height)))
    size = fit_size(max(1, round(part.width * scale)), max(1, round(part.height * scale)), pixels, multiple)
    return resize(part, size)


def held(job: tuple[str, Media, tuple[float, ...], int]) -> bytes:
    """A clip of the same length that shows, at every moment, the nearest of some key frames; as MP4.

    The job: path, facts of the video, times in seconds, and the most pixels of a frame. Raises `MediaError`.
    """
    path, media, times_s, most = job
    policy = SamplingConfig(1.0, 1, 1, most, 2)
    decoded = sample(path, [Key(time_s) for time_s in times_s], policy)
    shown = [(shot.asked_s, np.asarray(shot.image)) for shot in decoded.shots if shot.key]
    count = max(1, round(min(media.duration_s or 1.0, HELD_S) * HELD_FPS))
    with tempfile.TemporaryDirectory(prefix="openo3-") as folder:
        target = Path(folder) / "held.mp4"
        encode(
            target, (_nearest(shown, number / HELD_FPS) for number in range(count)), HELD_FPS, decoded.size
        )
        return target.read_bytes()


def _nearest(shown: Sequence[tuple[float, np.ndarray]], time_s: float) -> np.ndarray:
    return min(shown, key=lambda each: abs(each[0] - time_s))[1]
