"""Dense supervision of the vision tower: for each patch, the shape that covers it and that shape's box.

From answer tokens alone, a model this small needs very long to relate positions in the picture to the digits
of boxes. With a target for every patch, the tower learns it in a minute, and the language model only has to
read it out. The linear head that predicts the targets is discarded afterwards.
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
    """Merged tokens [n, width] -> [n * MERGE**2, CHANNELS].

    For each patch: whether a shape covers it, the shape's colour and form, and its normalised box minus 0.5.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, tiny.MERGE**2 * CHANNELS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(tokens)).view(-1, CHANNELS)


def patch_targets(batch: dict[str, Any], device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colour, form and box of the topmost shape whose box contains the centre of each patch.

    The scenes have one frame each.

    Returns:
        Colour and form indices, [patches] int64 each and -1 where there is no shape, and [patches, 4]
        normalised boxes. Their order is that of `pretraining_batches.patches`.
    """
    objects, time = batch["tensors"]["objects"].to(device), batch["times"][:, 0].to(device)
    source = batch["sources"].to(device)
    across, down = (side // tiny.PATCH for side in batch["size"])
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
    """[B, H, W, C] patches -> [B * H * W, C], with the patches of one merged token next to each other."""
    batch, down, across, width = grid.shape
    m = tiny.MERGE
    grid = grid.view(batch, down // m, m, across // m, m, width).transpose(2, 3)
    return grid.reshape(-1, width)


def detection_loss(
    predicted: torch.Tensor, colour: torch.Tensor, shape: torch.Tensor, box: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss, and the mean absolute error of the box sides as a share of the frame (for logging)."""
    shown = (colour >= 0).float()
    names, forms, sides = predicted[:, 1:].split((len(COLOURS), len(SHAPES), 4), dim=1)
    classification = F.cross_entropy(names, colour.clamp_min(0), reduction="none")
    classification = classification + F.cross_entropy(forms, shape.clamp_min(0), reduction="none")
    distance = (sides + 0.5 - box).abs().mean(1)
    count = shown.sum().clamp_min(1)
    error = (distance * shown).sum() / count
    presence = F.binary_cross_entropy_with_logits(predicted[:, 0], shown)
    return presence + (classification * shown).sum() / count + 10 * error, error.detach()
