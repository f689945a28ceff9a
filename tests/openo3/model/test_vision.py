"""Features of many frames at once equal the model's own, whatever the frames' sizes."""

from typing import Any

import pytest
import torch

from openo3.model.vision import stacked
from tests.openo3.model.families import Family

SIZES = {
    "one": [(2, 2)],
    "equal": [(3, 2)] * 4,
    "turned": [(3, 2), (2, 3), (3, 2)],
    "different": [(2, 2), (5, 3), (2, 2), (1, 1), (3, 5)],
}


def features(family: Family, pixels: torch.Tensor, grids: torch.Tensor) -> Any:
    return family.model.model.get_image_features(pixels, stacked(grids))


def test_only_consecutive_frames_of_one_size_are_joined() -> None:
    grids = torch.tensor([[1, 4, 6], [3, 4, 6], [1, 6, 4], [1, 4, 6]])
    assert stacked(grids).tolist() == [[4, 4, 6], [1, 6, 4], [1, 4, 6]]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_features_equal_those_of_the_model(
    family: Family, sizes: list[tuple[int, int]], attention: str
) -> None:
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
