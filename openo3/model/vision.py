"""Stacks frames of one size, so that transformers does not process them one by one in Python.

transformers derives positions, and splits and joins features, for each entry of `image_grid_thw`. With
hundreds of frames in a batch these small operations outweigh the vision tower itself. An entry may hold
several frames, though: they are attended one by one and their features follow each other, just as if each
had an entry of its own.
"""

from __future__ import annotations

import torch


def stacked(grids: torch.Tensor) -> torch.Tensor:
    """[images, 3] grids (frames, height, width in patches) with runs of one size joined: [runs, 3]."""
    sizes, counts = torch.unique_consecutive(grids[:, 1:], dim=0, return_counts=True)
    frames = torch.stack([part.sum() for part in grids[:, 0].split(counts.tolist())])
    return torch.cat([frames[:, None], sizes], dim=1)
