"""Clips of the shapes world as files: H.264 videos, and single frames as JPEG.

    write_video(Path("videos/000012.mp4"), scene)
    write_picture(Path("kfs/000012_31.jpg"), scene, frame_times(scene)[31])

Frame `i` shows the scene at `i / fps` seconds. A frame as JPEG is drawn anew and not taken from the video,
so it is free of the video's compression. The pixels are those of `openo3.shapes.render.render`, which draws
every shape on whole frames, many scenes at once; here each is drawn in a window around it, one scene at a
time, which takes a seventh of the time on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from openo3.files.artifacts import atomic_file
from openo3.media.ffmpeg import encode
from openo3.shapes.clips import frame_times
from openo3.shapes.render import SHAPE_INDEX, distance, render, scene_tensors
from openo3.shapes.scene import COLOURS, Object, Scene

AT_ONCE = 16
"""Frames drawn together: enough to be worth it, few enough to stay in the cache."""


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
    for there, group in groupby(times_s, lambda time: [item for item in scene.objects if item.in_view(time)]):
        times = list(group)
        if any(item.direction for item in there):
            for start in range(0, len(times), AT_ONCE):
                yield from _drawn(background, scene, there, times[start : start + AT_ONCE])
        else:
            yield from [*_drawn(background, scene, there, times[:1])] * len(times)


def _drawn(
    background: torch.Tensor, scene: Scene, items: Sequence[Object], times_s: Sequence[float]
) -> np.ndarray:
    """[T, H, W, 3] uint8: the shapes over the background at T times at which all are in view."""
    canvas = background.repeat(len(times_s), 1, 1, 1)
    for item in items:
        _paint(canvas, scene, item, times_s)
    return canvas.round_().to(torch.uint8).numpy()


def _background(scene: Scene) -> torch.Tensor:
    """[H, W, 3] float32 in 0-255: the scene without shapes."""
    size = torch.tensor([scene.size], dtype=torch.float32)
    empty = scene_tensors([replace(scene, objects=())])
    return render(empty, torch.zeros(1, 1), scene.size, size)[0, 0] * 255


def _paint(canvas: torch.Tensor, scene: Scene, item: Object, times_s: Sequence[float]) -> None:
    """Draw a shape over `canvas` `[T, H, W, 3] float32 in 0-255`, in place, as `render` does."""
    (width, height), radius = scene.size, item.radius * min(scene.size)  # in pixels, like all that follows
    centres = torch.tensor([item.centre(time) for time in times_s], dtype=torch.float32)
    centres *= torch.tensor([width, height])
    corners = (centres - radius - 1).floor()  # the soft edge is a pixel wide
    grid = torch.arange(ceil(2 * radius) + 3) + 0.5
    u, v = ((grid + corners[:, axis, None] - centres[:, axis, None]) / radius for axis in (0, 1))
    edge = distance(torch.tensor(SHAPE_INDEX[item.shape]), u[:, None, :], v[:, :, None]) * radius
    alpha = (0.5 - edge).clamp(0, 1)[..., None]  # [T, side, side, 1]
    colour = torch.tensor(COLOURS[item.colour]) * item.shade
    for frame, window, (left, top) in zip(canvas, alpha, corners.int().tolist(), strict=True):
        inside = window[max(0, -top) : height - top, max(0, -left) : width - left]
        rows, columns = inside.shape[:2]
        top, left = max(0, top), max(0, left)
        frame[top : top + rows, left : left + columns].lerp_(colour, inside)
