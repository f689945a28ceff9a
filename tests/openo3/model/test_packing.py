"""Branches in a pack equal their separate rows: the same positions, logits and gradients."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from openo3.model.packing import Branch, Pack, branch_mask, model_inputs, rope_positions
from tests.openo3.model.families import Family

QUESTIONS = ["When is the red circle in view?", "Where is it?", "Which shape enters after the blue square?"]
ANSWERS = ["From 1.0s to 4.5s", "<box>[1,2,3,4]</box>", "<think>the green</think>triangle"]


def packs_of_all_kinds(family: Family) -> list[Pack]:
    """Different numbers of frames and branches, different frame sizes, so that every row is padded."""
    return [
        family.pack(family.frames(2, (2, 2)), QUESTIONS, ANSWERS),
        family.pack(family.frames(3, (3, 2), seed=1), QUESTIONS[:1], ANSWERS[:1]),
        family.pack(family.frames(1, (1, 3), seed=2), QUESTIONS[1:], ANSWERS[1:]),
    ]


def plain_inputs(family: Family, pack: Pack, branch: Branch) -> dict[str, torch.Tensor]:
    """One branch as its own row, as the processor would pass it to the model: no mask, no positions."""
    ids = torch.tensor([[*pack.prefix_ids, *branch.context_ids, *branch.target_ids]])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == family.encoder.image_token_id).int(),
        "pixel_values": pack.pixel_values,
        "image_grid_thw": torch.tensor(pack.grids),
    }


@pytest.mark.parametrize(
    "sizes", [[], [(2, 2)], [(3, 1), (1, 3), (2, 5)]], ids=["no images", "one", "different"]
)
@pytest.mark.parametrize("text_between", [0, 1, 3])
def test_positions_equal_those_of_the_model(
    family: Family, sizes: list[tuple[int, int]], text_between: int
) -> None:
    image = family.encoder.image_token_id
    ids = [5, 6]
    for width, height in sizes:
        ids += [image] * (width * height) + [7] * text_between
    ids.append(8)
    grids = torch.tensor([[1, 2 * height, 2 * width] for width, height in sizes]).reshape(-1, 3)
    if len(sizes) > 1 and not text_between:
        pytest.skip("the models' own function takes images without text between them for one")
    row = torch.tensor([ids])
    expected, _ = family.model.model.get_rope_index(row, (row == image).int(), grids)
    assert np.array_equal(rope_positions(np.array(ids), grids.numpy(), image, 2), expected[:, 0].numpy())


def test_collate_keeps_the_models_positions(family: Family) -> None:
    for pack in packs_of_all_kinds(family):
        positions = family.collate([pack])["position_ids"][:, 0]
        start = len(pack.prefix_ids)
        for branch in pack.branches:
            row = plain_inputs(family, pack, branch)
            expected, _ = family.model.model.get_rope_index(
                row["input_ids"], row["mm_token_type_ids"], row["image_grid_thw"]
            )
            length = expected.shape[-1] - len(pack.prefix_ids)
            ours = torch.cat(
                [positions[:, : len(pack.prefix_ids)], positions[:, start : start + length]], dim=1
            )
            assert torch.equal(ours, expected[:, 0])
            start += length


def test_the_mask_equals_a_hand_written_one() -> None:
    segments = torch.tensor([[0, 0, 1, 1, 2, -1]])
    assert branch_mask(segments)[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


def test_labels_cover_only_the_targets(family: Family) -> None:
    packs = packs_of_all_kinds(family)
    batch = family.collate(packs)
    for row, pack in enumerate(packs):
        labels = batch["labels"][row]
        expected = [token for branch in pack.branches for token in branch.target_ids]
        assert labels[labels >= 0].tolist() == expected
        assert batch["input_ids"][row][labels >= 0].tolist() == expected
        assert int((batch["segments"][row] >= 0).sum()) == len(pack.prefix_ids) + sum(
            len(branch.context_ids) + len(branch.target_ids) for branch in pack.branches
        )


def test_branches_give_the_logits_of_their_own_rows(family: Family) -> None:
    packs = packs_of_all_kinds(family)
    with torch.no_grad():
        packed = family.logits(packs)
        for row, pack in enumerate(packs):
            start = prefix = len(pack.prefix_ids)
            for branch in pack.branches:
                own = family.model(**plain_inputs(family, pack, branch)).logits[0]
                length = len(own) - prefix
                torch.testing.assert_close(packed[row, :prefix], own[:prefix], atol=1e-4, rtol=0)
                torch.testing.assert_close(
                    packed[row, start : start + length], own[prefix:], atol=1e-4, rtol=0
                )
                start += length


def test_padding_does_not_change_the_logits(family: Family) -> None:
    packs = packs_of_all_kinds(family)
    with torch.no_grad():
        together = family.logits(packs)
        for row, pack in enumerate(packs):
            alone = family.logits([pack])[0]
            assert torch.isfinite(together[row]).all()
            torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-4, rtol=0)


def test_gradients_equal_those_of_the_separate_rows(family: Family) -> None:
    packs = packs_of_all_kinds(family)
    batch = family.collate(packs)
    labels = batch.pop("labels")[:, 1:]
    logits = family.model(**model_inputs(family.model, batch)).logits[:, :-1]
    packed_loss = F.cross_entropy(logits.transpose(1, 2), labels, reduction="sum")

    loss = torch.zeros(())
    for pack in packs:
        for branch in pack.branches:
            own = family.model(**plain_inputs(family, pack, branch)).logits[0]
            target = torch.tensor(branch.target_ids)
            loss = loss + F.cross_entropy(own[-len(target) - 1 : -1], target, reduction="sum")
    torch.testing.assert_close(packed_loss, loss, atol=1e-3, rtol=1e-5)

    names, parameters = zip(*family.model.named_parameters(), strict=True)
    ours = torch.autograd.grad(packed_loss, parameters, allow_unused=True)
    theirs = torch.autograd.grad(loss, parameters, allow_unused=True)
    for name, one, other in zip(names, ours, theirs, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            scale = float(other.abs().max()) + 1e-3
            torch.testing.assert_close(one / scale, other / scale, atol=1e-3, rtol=0, msg=name)
