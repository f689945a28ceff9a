"""Features of many frames at once equal the model's own, whatever the frames' sizes."""

from typing import Any

import pytest
import torch
from transformers.vision_utils import get_vision_position_ids

from openo3.model.vision import patch_positions
from tests.openo3.model.families import Family

SIZES = {
    "one": [(2, 2)],
    "equal": [(3, 2)] * 4,
    "turned": [(3, 2), (2, 3), (3, 2)],
    "different": [(2, 2), (5, 3), (2, 2), (1, 1), (3, 5)],
}


def features(family: Family, pixels: torch.Tensor, grids: torch.Tensor) -> Any:
    positions = patch_positions(grids, family.encoder.merge)
    return family.model.model.get_image_features(pixels, grids, image_position_ids=positions)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_positions_are_those_of_transformers(sizes: list[tuple[int, int]]) -> None:
    grids = torch.tensor([[1, 2 * height, 2 * width] for width, height in sizes])
    assert torch.equal(patch_positions(grids, 2), get_vision_position_ids(grids, 2))


def test_positions_of_grids_that_last_in_time() -> None:
    grids = torch.tensor([[3, 4, 6], [1, 4, 6], [2, 2, 2]])
    assert torch.equal(patch_positions(grids, 2), get_vision_position_ids(grids, 2))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_features_are_the_models_own(family: Family, sizes: list[tuple[int, int]], attention: str) -> None:
    parts = [family.encoder.vision(family.frames(1, size, seed=seed)) for seed, size in enumerate(sizes)]
    pixels = torch.cat([part.pixel_values for part in parts])
    grids = torch.cat([torch.tensor(part.grids) for part in parts])
    with torch.no_grad():
        ours = features(family, pixels, grids)
        with family.vision_attention(attention):
            theirs = family.model.model.get_image_features(pixels, grids)
    torch.testing.assert_close(
        torch.cat(ours.pooler_output), torch.cat(theirs.pooler_output), atol=1e-4, rtol=1e-4
    )
    for one, other in zip(
        getattr(ours, "deepstack_features", ()), getattr(theirs, "deepstack_features", ()), strict=True
    ):
        torch.testing.assert_close(torch.cat(one), torch.cat(other), atol=1e-4, rtol=1e-4)


def test_a_frame_does_not_see_its_neighbours(family: Family) -> None:
    frames = family.frames(3, (3, 2))
    alone, together = family.encoder.vision(frames[1:2]), family.encoder.vision(frames)
    with torch.no_grad():
        one, all_three = (
            torch.cat(features(family, v.pixel_values, torch.tensor(v.grids)).pooler_output)
            for v in (alone, together)
        )
    torch.testing.assert_close(all_three[6:12], one, atol=1e-4, rtol=1e-4)
