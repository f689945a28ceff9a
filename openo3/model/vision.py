"""The vision tower called once for all frames, without per-image work in Python.

transformers derives the patches' positions and splits the features image by image. With hundreds of
frames in a batch these small operations outweigh the tower itself, so they are done here once per
distinct frame size and handed over through the arguments transformers provides for precomputed values.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.vision_utils import get_vision_position_ids


def patch_positions(grids: torch.Tensor, merge: int) -> torch.Tensor:
    """`get_vision_position_ids` for [images, 3] grids, computed once per distinct grid. [patches, 2]."""
    distinct, which = torch.unique(grids.cpu(), dim=0, return_inverse=True)
    each = [get_vision_position_ids(grid[None], merge) for grid in distinct]
    if len(each) == 1:
        return each[0].repeat(len(grids), 1).to(grids.device)
    return torch.cat([each[index] for index in which.tolist()]).to(grids.device)


def encode_vision(model: Any, pixel_values: torch.Tensor, grids: torch.Tensor) -> dict[str, Any]:
    """Features of all frames, as the model's `mm_encoder_outputs` argument."""
    visual = model.model.visual
    output = visual(
        pixel_values.to(visual.dtype),
        grid_thw=grids,
        return_dict=True,
        position_ids=patch_positions(grids, visual.spatial_merge_size),
    )
    output.pooler_output = (output.pooler_output,)
    if getattr(output, "deepstack_features", None) is not None:
        output.deepstack_features = [(feature,) for feature in output.deepstack_features]
    return {"image": output}
