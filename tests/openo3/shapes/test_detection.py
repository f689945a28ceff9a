"""The target of a patch is the shape over its centre, and a head can learn it."""

import numpy as np
import torch

from openo3.model.load import load_processor
from openo3.shapes import tiny
from openo3.shapes.detection import CHANNELS, DetectionHead, detection_loss, patch_targets
from openo3.shapes.pretraining_batches import PretrainingBatches
from openo3.shapes.render import scene_tensors
from openo3.shapes.scene import COLOURS, SHAPES, Scene, sample_scene

PROCESSOR = load_processor("data/tiny-qwen3-vl")


def topmost(scene: Scene, time_s: float, x: float, y: float) -> tuple[int, int, tuple[float, ...]]:
    """Colour, form and box of the last shape whose box holds the point, found one by one."""
    found = (-1, -1, (0.0, 0.0, 0.0, 0.0))
    for item in scene.objects:
        left, top, right, bottom = box = scene.box(item, time_s)
        if item.in_view(time_s) and left < x < right and top < y < bottom:
            found = (list(COLOURS).index(item.colour), list(SHAPES).index(item.shape), box)
    return found


def test_targets_match_the_scene() -> None:
    rng = np.random.default_rng(0)
    size, times = (128, 96), []
    scenes = [sample_scene(rng, (160, 120)) for _ in range(8)]
    for scene in scenes:
        times.append(float(np.float32(rng.uniform(0, scene.duration_s))))
    batch = {
        "tensors": scene_tensors(scenes),
        "times": torch.tensor(times)[:, None],
        "size": size,
        "sources": torch.tensor([scene.size for scene in scenes], dtype=torch.float32),
    }
    colour, shape, box = patch_targets(batch, "cpu")
    across, down, m = size[0] // tiny.PATCH, size[1] // tiny.PATCH, tiny.MERGE
    place = 0
    for scene, time in zip(scenes, times, strict=True):
        for row, column in np.ndindex(down // m, across // m):
            for y, x in np.ndindex(m, m):
                centre = ((column * m + x + 0.5) / across, (row * m + y + 0.5) / down)
                expected = topmost(scene, time, *centre)
                assert (int(colour[place]), int(shape[place])) == expected[:2]
                np.testing.assert_allclose(box[place], expected[2], atol=1e-4)
                place += 1
    assert place == len(colour)
    assert (colour >= 0).float().mean() > 0.05


def test_a_head_learns_targets_encoded_in_the_features() -> None:
    batch = PretrainingBatches(PROCESSOR, 0, 64, 0, 1.0).draw(np.random.default_rng(0))
    targets = patch_targets(batch, "cpu")
    torch.manual_seed(0)
    known = torch.cat(
        [torch.nn.functional.one_hot(part + 1, 9).float() for part in targets[:2]] + [targets[2]], dim=1
    )
    features = known.view(-1, tiny.MERGE**2 * known.shape[1])
    head = DetectionHead(features.shape[1])
    assert head(features).shape == (len(known), CHANNELS)
    optimizer = torch.optim.Adam(head.parameters(), 0.02)
    losses = []
    for _ in range(150):
        loss, error = detection_loss(head(features), *targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert error < 0.05


def test_a_picture_without_shapes_has_a_finite_loss() -> None:
    nothing = torch.full((8,), -1)
    loss, error = detection_loss(torch.zeros(8, CHANNELS), nothing, nothing, torch.zeros(8, 4))
    assert torch.isfinite(loss)
    assert error == 0
