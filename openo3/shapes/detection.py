"""What a patch shows: a dense lesson for the vision tower alone, before language is in play.

From the answers' tokens alone a model this small takes very long to find out that places in the picture
have anything to do with the digits to write. Told for every patch which shape lies over it and where that
shape's box is, the tower learns it in a minute, and the language model then only has to read it off. The
linear head that is asked here is thrown away.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from openo3.shapes import tiny
from openo3.shapes.scene import COLOURS, SHAPES

EXTENTS = torch.tensor(list(SHAPES.values()))
CHANNELS = 1 + len(COLOURS) + len(SHAPES) + 4


class DetectionHead(nn.Module):
    """Merged tokens [n, width] -> [n * MERGE**2, CHANNELS]: for each patch whether a shape is there, its
    colour, its form and its box (normalised, as an offset from one half)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, tiny.MERGE**2 * CHANNELS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(tokens)).view(-1, CHANNELS)


def patch_truth(lesson: dict[str, Any], device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colour, form (both -1 where no shape's box holds the patch's centre) and box of the topmost shape.

    Returns [patches] int64, [patches] int64 and [patches, 4] normalised boxes, in the order of
    `lessons.patches`, scenes of one frame each.
    """
    objects, time = lesson["tensors"]["objects"].to(device), lesson["times"][:, 0].to(device)
    source = lesson["sources"].to(device)
    across, down = (side // tiny.PATCH for side in lesson["size"])
    x = ((torch.arange(across, device=device) + 0.5) / across)[None, None, :]
    y = ((torch.arange(down, device=device) + 0.5) / down)[None, :, None]
    what = torch.full((len(objects), down, across, 2), -1, device=device)
    where = torch.zeros(len(objects), down, across, 4, device=device)
    extents = EXTENTS.to(device)
    for item in objects.unbind(1):
        enter, leave, x0, y0, vx, vy, radius, shape, colour, _, real = item.unbind(1)
        elapsed = time - enter
        centre = torch.stack([x0 + vx * elapsed, y0 + vy * elapsed], 1)
        extent = extents[shape.long()] * (radius * source.amin(1))[:, None] / source
        box = torch.cat([centre - extent, centre + extent], 1).clamp(0, 1)
        left, top, right, bottom = (side[:, None, None] for side in box.unbind(1))
        present = ((time >= enter) & (time <= leave) & (real > 0))[:, None, None]
        inside = (present & (x > left) & (x < right) & (y > top) & (y < bottom))[..., None]
        name = torch.stack([colour, shape], 1).long()[:, None, None]
        what, where = torch.where(inside, name, what), torch.where(inside, box[:, None, None], where)
    what, where = _in_token_order(what), _in_token_order(where)
    return what[:, 0], what[:, 1], where


def _in_token_order(grid: torch.Tensor) -> torch.Tensor:
    """[B, H, W, C] patches -> [B * H * W, C], the patches of one merged token side by side."""
    batch, down, across, width = grid.shape
    m = tiny.MERGE
    grid = grid.view(batch, down // m, m, across // m, m, width).transpose(2, 3)
    return grid.reshape(-1, width)


def detection_loss(
    told: torch.Tensor, colour: torch.Tensor, shape: torch.Tensor, box: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss, and for the record the mean absolute error of the boxes' sides (share of the frame)."""
    there = colour >= 0
    shown = there.float()
    names, forms, sides = told[:, 1:].split((len(COLOURS), len(SHAPES), 4), dim=1)
    wrong = F.cross_entropy(names, colour.clamp_min(0), reduction="none")
    wrong = wrong + F.cross_entropy(forms, shape.clamp_min(0), reduction="none")
    off = (sides + 0.5 - box).abs().mean(1)
    most = shown.sum().clamp_min(1)
    error = (off * shown).sum() / most
    presence = F.binary_cross_entropy_with_logits(told[:, 0], shown)
    return presence + (wrong * shown).sum() / most + 10 * error, error.detach()
