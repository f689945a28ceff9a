"""Clips of the shapes world as files: H.264 videos, and single frames as JPEG.

    write_video(Path("videos/000012.mp4"), scene)
    write_picture(Path("kfs/000012_31.jpg"), scene, frame_times(scene)[31])

Frame `i` shows the scene at `i / fps` seconds. A frame as JPEG is drawn anew and not taken from the video,
so it is free of the video's compression. The pixels are those of `openo3.shapes.render.render`, which draws
every shape on whole frames, many scenes at once; here each is drawn in a window around it, one scene at a
time, which takes a third of the time on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from math import ceil, floor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from openo3.artifacts import atomic_file
from openo3.media.ffmpeg import encode
from openo3.shapes.clips import frame_times
from openo3.shapes.render import SHAPE_INDEX, distance, render, scene_tensors
from openo3.shapes.scene import COLOURS, Object, Scene


def write_video(path: Path, scene: Scene) -> None:
    """The whole clip; the file appears once it is complete."""
    encode(path, draw(scene, frame_times(scene)), scene.fps, scene.size)


def write_picture(path: Path, scene: Scene, time_s: float) -> None:
    """One moment as a JPEG of its own size."""
    [frame] = draw(scene, [time_s])
    with atomic_file(path) as part:
        Image.fromarray(frame).save(part, format="JPEG", quality=92)


def draw(scene: Scene, times_s: Sequence[float]) -> Iterator[np.ndarray]:
    """The frames at these times, each `[H, W, 3] uint8` of the scene's own size.

    As long as no shape moves, comes or leaves, it is the same frame.
    """
    background = _background(scene)

    def picture(time_s: float) -> tuple[object, ...]:
        there = tuple(item for item in scene.objects if item.in_view(time_s))
        return there, time_s if any(item.direction for item in there) else None

    for (there, _), group in groupby(times_s, picture):
        repeated = list(group)
        canvas = background.clone()
        for item in there:
            _paint(canvas, scene, item, repeated[0])
        frame = canvas.round_().to(torch.uint8).numpy()
        yield from [frame] * len(repeated)


def _background(scene: Scene) -> torch.Tensor:
    """[H, W, 3] float32 in 0-255: the scene without shapes."""
    size = torch.tensor([scene.size], dtype=torch.float32)
    empty = scene_tensors([replace(scene, objects=())])
    return render(empty, torch.zeros(1, 1), scene.size, size)[0, 0] * 255


def _paint(canvas: torch.Tensor, scene: Scene, item: Object, time_s: float) -> None:
    """Draw a shape over `canvas` `[H, W, 3] float32 in 0-255`, in place, as `render` does."""
    x, y = (part * side for part, side in zip(item.centre(time_s), scene.size, strict=True))  # in pixels
    radius = item.radius * min(scene.size)
    reach = radius + 1  # the soft edge is a pixel wide
    left, top = max(0, floor(x - reach)), max(0, floor(y - reach))
    right, bottom = ceil(x + reach), ceil(y + reach)
    window = canvas[top:bottom, left:right]
    u = (torch.arange(window.shape[1]) + (left + 0.5 - x)) / radius
    v = (torch.arange(window.shape[0]) + (top + 0.5 - y)) / radius
    edge = distance(torch.tensor(SHAPE_INDEX[item.shape]), u[None, :], v[:, None]) * radius
    alpha = (0.5 - edge).clamp(0, 1)[..., None]
    window.lerp_(torch.tensor(COLOURS[item.colour]) * item.shade, alpha)
