"""Render shapes scenes as one batch of tensors on any device.

Pretraining renders millions of frames with it, many scenes at once on a GPU. `media_files` draws the same
pixels for the frames that ffmpeg encodes. Shapes are drawn from signed distances with anti-aliased edges, so
every resolution shows the same picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from openo3.shapes.scene import COLOURS, SHAPES, Scene

SHAPE_INDEX = {name: index for index, name in enumerate(SHAPES)}
COLOUR_INDEX = {name: index for index, name in enumerate(COLOURS)}
PALETTE = torch.tensor(list(COLOURS.values())) / 255


def distance(shape: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Signed distance to each shape's edge, negative inside, in units of its radius.

    `shape` holds indices into `SHAPES` and broadcasts against the coordinates `u` (right) and `v` (down),
    which are 0 at the centre and 1 at the radius.
    """
    au, av = u.abs(), v.abs()
    rho = torch.sqrt(u * u + v * v)
    square = torch.maximum(au, av) - 0.88
    triangle = torch.maximum(v - 1, (2 * au - v - 1) / 5**0.5)
    diamond = (au + av - 1) / 2**0.5
    upright = torch.maximum(au - 0.36, av - 1)
    lying = torch.maximum(au - 1, av - 0.36)
    ring = (rho - 0.76).abs() - 0.24
    choices = (rho - 1, square, triangle, diamond, torch.minimum(upright, lying), ring)
    result = choices[0]
    for index, choice in enumerate(choices[1:], start=1):
        result = torch.where(shape == index, choice, result)
    return result


def scene_tensors(scenes: Sequence[Scene]) -> dict[str, torch.Tensor]:
    """Scenes as padded float tensors: `objects` [B, K, 11], `background` [B, 2, 3].

    The columns of `objects` are enter_s, leave_s, x, y, vx, vy, radius, shape index, colour index, shade, and
    1 for an object or 0 for padding.
    """
    longest = max(len(scene.objects) for scene in scenes)
    objects = torch.zeros(len(scenes), longest, 11)
    for row, scene in enumerate(scenes):
        for column, item in enumerate(scene.objects):
            objects[row, column] = torch.tensor(
                [
                    *(item.enter_s, item.leave_s, *item.start, *item.velocity),
                    *(item.radius, SHAPE_INDEX[item.shape], COLOUR_INDEX[item.colour], item.shade, 1.0),
                ]
            )
    background = torch.tensor([scene.background for scene in scenes], dtype=torch.float32) / 255
    return {"objects": objects, "background": background}


def render(
    tensors: dict[str, torch.Tensor], times_s: torch.Tensor, size: tuple[int, int], source_size: torch.Tensor
) -> torch.Tensor:
    """Frames of many scenes.

    Args:
        tensors: the output of `scene_tensors`, on the device to render on.
        times_s: [B, T] seconds.
        size: `(width, height)` of the result in pixels.
        source_size: [B, 2] width and height of each scene's own frame. They fix the aspect ratio: a circle is
            round at this size, and is distorted with the frame at any other ratio.

    Returns:
        [B, T, H, W, 3] float32 in 0-1.
    """
    objects, background = tensors["objects"], tensors["background"]
    device = objects.device
    width, height = size
    x = (torch.arange(width, device=device) + 0.5) / width
    y = (torch.arange(height, device=device) + 0.5) / height
    blend = ((x[None, :] + y[:, None]) / 2)[None, :, :, None]
    canvas = background[:, None, None, 0] * (1 - blend) + background[:, None, None, 1] * blend
    canvas = canvas[:, None].expand(-1, times_s.shape[1], -1, -1, -1).clone()
    short = source_size.min(dim=1).values
    pixels_per_side = min(width, height)
    palette = PALETTE.to(device)
    for k in range(objects.shape[1]):
        enter, leave, x0, y0, vx, vy, radius, shape = (objects[:, k, i, None] for i in range(8))
        elapsed = times_s - enter
        present = (times_s >= enter) & (times_s <= leave) & (objects[:, k, 10, None] > 0)
        cx, cy = x0 + vx * elapsed, y0 + vy * elapsed  # [B, T]
        radius = radius.clamp_min(1e-3)
        u = (x[None, None, None, :] - cx[..., None, None]) * (source_size[:, 0] / short)[:, None, None, None]
        v = (y[None, None, :, None] - cy[..., None, None]) * (source_size[:, 1] / short)[:, None, None, None]
        radius = radius[..., None, None]
        edge = distance(shape[..., None, None], u / radius, v / radius) * radius * pixels_per_side
        alpha = ((0.5 - edge).clamp(0, 1) * present[..., None, None])[..., None]
        colour = palette[objects[:, k, 8].long()] * objects[:, k, 9, None]
        colour = colour[:, None, None, None]
        canvas = canvas * (1 - alpha) + colour * alpha
    return canvas
