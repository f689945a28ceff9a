"""Media files of the shapes world: clips as H.264 videos, single frames as JPEG.

    write_video(Path("videos/000012.mp4"), scene)
    write_picture(Path("kfs/000012_31.jpg"), scene, frame_times(scene)[31])

Frame `i` shows the scene at `i / fps` seconds. A JPEG is rendered anew rather than decoded from the video, so
it has no video compression artefacts. The pixels equal those of `openo3.shapes.render.render`, which draws
many scenes at once and each shape over the whole frame. Here each shape is drawn only in a window around it,
one scene at a time, which takes a seventh of the time on a CPU.
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

FRAMES_PER_BATCH = 16
"""Frames drawn together: enough to amortise the overhead, few enough to fit the CPU cache."""


def write_video(path: Path, scene: Scene) -> None:
    """Write the clip as H.264. The file appears only when it is complete."""
    encode(path, draw(scene, frame_times(scene)), scene.fps, scene.size)


def write_picture(path: Path, scene: Scene, time_s: float) -> None:
    """Write the frame at `time_s` as a JPEG of the scene's size."""
    [frame] = draw(scene, [time_s])
    with atomic_file(path) as part:
        Image.fromarray(frame).save(part, format="JPEG", quality=92)


def draw(scene: Scene, times_s: Sequence[float]) -> Iterator[np.ndarray]:
    """The frames at these times, each `[H, W, 3] uint8` of the scene's size.

    While no shape moves, enters or leaves, one frame is drawn and repeated.
    """
    background = _background(scene)
    for in_view, group in groupby(
        times_s, lambda time: [item for item in scene.objects if item.in_view(time)]
    ):
        times = list(group)
        if any(item.direction for item in in_view):
            for start in range(0, len(times), FRAMES_PER_BATCH):
                yield from _draw_batch(background, scene, in_view, times[start : start + FRAMES_PER_BATCH])
        else:
            yield from [*_draw_batch(background, scene, in_view, times[:1])] * len(times)


def _draw_batch(
    background: torch.Tensor, scene: Scene, items: Sequence[Object], times_s: Sequence[float]
) -> np.ndarray:
    """[T, H, W, 3] uint8: `items` over the background, at T times at which all of them are in view."""
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
    (width, height), radius = scene.size, item.radius * min(scene.size)  # in pixels, as is everything below
    centres = torch.tensor([item.centre(time) for time in times_s], dtype=torch.float32)
    centres *= torch.tensor([width, height])
    corners = (centres - radius - 1).floor()  # the anti-aliased edge is one pixel wide
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
