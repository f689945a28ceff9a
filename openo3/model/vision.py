"""Positions of all frames' patches at once, without per-image work in Python.

transformers derives them image by image. With hundreds of frames in a batch these small operations outweigh
the vision tower itself, so they are done here once per distinct frame size and handed to the model as
`image_position_ids`, the argument that transformers provides for precomputed values.
"""

from __future__ import annotations

import torch
from transformers.vision_utils import get_vision_position_ids


def patch_positions(grids: torch.Tensor, merge: int) -> torch.Tensor:
    """`get_vision_position_ids` for [images, 3] grids, computed once per distinct grid. [patches, 2]."""
    distinct, which = torch.unique(grids.cpu(), dim=0, return_inverse=True)
    each = [get_vision_position_ids(grid[None], merge) for grid in distinct]
    if len(each) == 1:
        return each[0].repeat(len(grids), 1).to(grids.device)
    return torch.cat([each[index] for index in which.tolist()]).to(grids.device)
