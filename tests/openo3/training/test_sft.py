"""Training on packs equals training on their separate rows."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import SFTConfig

from openo3.model.load import load_model, load_processor
from openo3.model.packing import collate, model_inputs
from openo3.training.examples import Examples, key_times
from openo3.training.sft import GroundedSFTTrainer, GroupCollator, sft_trainer
from tests.openo3.training import workplace

ABOUT_LONG = [1, 3]  # two records about the evenly spaced frames of one clip
SPATIAL = [0, 2]  # two about the same clip with its key frames


@pytest.fixture
def make(place: Path, examples: Examples, tmp_path: Path):
    def trainer(loss_on: str = "answer", most_per_pack: int = 8, **changed: Any) -> GroundedSFTTrainer:
        config = SFTConfig(output_dir=str(tmp_path / "run"), **workplace.SFT | changed)
        base = place / "data/models/base"
        model, processor = load_model(base), load_processor(base)
        return sft_trainer(model, processor, examples, config, loss_on=loss_on, most_per_pack=most_per_pack)

    return trainer


def batch_of(examples: Examples, *groups: list[int], loss_on: str = "answer") -> dict[str, torch.Tensor]:
    return GroupCollator(examples, loss_on)([{"group": group} for group in groups])


def test_records_about_the_same_frames_share_a_row(examples: Examples) -> None:
    assert examples.without_frames == 1
    assert sorted(map(sorted, examples.groups(8))) == [SPATIAL, ABOUT_LONG, [4], [5, 6]]
    assert sorted(index for group in examples.groups(1) for index in group) == list(range(7))


def test_key_frames_are_shown_in_order_of_time(examples: Examples) -> None:
    spatial, plain = (examples.frames(examples.samples[index]) for index in (0, 1))
    times = [frame.time_s for frame in spatial]
    assert times == sorted(times)
    assert sum(frame.key for frame in spatial) == 2 == len(spatial) - len(plain)
    assert not any(frame.key for frame in plain)
    assert key_times(examples.samples[0]) == (0.7, 2.2)
    prompt = examples.encoder.tokenizer.decode(examples.encode(examples.samples[0]).prefix_ids)
    places = [prompt.index(f"at {time_s:.1f}s") for time_s in times]
    assert places == sorted(places)


def test_targets_use_the_box_space_of_the_model(examples: Examples) -> None:
    claim = "The <obj>cup</obj><box>[100,200,300,400]</box>at<t>2.2</t>s moves."
    assert examples.target(examples.samples[0]) == f"<think>{claim}</think><answer>a cup</answer>"


@pytest.mark.parametrize("group", [ABOUT_LONG, SPATIAL, [4]])
def test_labels_cover_only_the_completions(examples: Examples, group: list[int]) -> None:
    """Only the completions are learned."""
    batch = batch_of(examples, group)
    ids, labels = batch["input_ids"][0], batch["labels"][0]
    expected = [t for k in group for t in examples.encoder.target(examples.target(examples.samples[k]))]
    assert ids[labels >= 0].tolist() == expected == labels[labels >= 0].tolist()


def test_a_direct_question_shares_the_row_of_the_evenly_spaced_frames(examples: Examples) -> None:
    """Only its answer is learned, without reasoning or tags."""
    direct = examples.with_direct()
    assert sorted(map(sorted, direct.groups(8))) == [SPATIAL, [*ABOUT_LONG, 7], [4], [5, 6]]
    before, after = GroupCollator(examples).pack(ABOUT_LONG), GroupCollator(direct).pack([*ABOUT_LONG, 7])
    assert after.branches[:2] == before.branches
    assert after.prefix_ids == before.prefix_ids
    asked = examples.encoder.tokenizer.decode(after.branches[2].context_ids).partition("<|im_end|>")[0]
    assert asked == 'Where is the cup?\nAnswer for the seconds 2 as JSON: {"second": [x1,y1,x2,y2]}.'
    assert after.branches[2].target_ids == examples.encoder.target('{"2": [100,200,300,400]}')
    assert GroupCollator(direct).pack(SPATIAL).branches == GroupCollator(examples).pack(SPATIAL).branches


@pytest.mark.parametrize("group", [ABOUT_LONG, SPATIAL, [4]])
def test_without_reasoning_only_the_answer_is_learned(examples: Examples, group: list[int]) -> None:
    plain = replace(examples, reasoning=False)
    reasoned, bare = GroupCollator(examples).pack(group), GroupCollator(plain).pack(group)
    assert bare.prefix_ids == reasoned.prefix_ids
    decode = examples.encoder.tokenizer.decode
    for index, branch in zip(group, bare.branches, strict=True):
        sample = examples.samples[index]
        assert decode(branch.context_ids).partition("<|im_end|>")[0] == sample.question
        assert branch.target_ids == examples.encoder.target(plain.target(sample))
        assert not {"<think>", "<answer>"} & set(re.findall("<.*?>", decode(branch.target_ids)))


def test_labels_can_cover_the_whole_text(examples: Examples) -> None:
    """Covers all but padding, image patches, and the first token of each branch, which follows nothing."""
    groups = (ABOUT_LONG, [4])
    batch = batch_of(examples, *groups, loss_on="everything")
    answer = batch_of(examples, *groups)
    ids, labels, segments = (batch[name] for name in ("input_ids", "labels", "segments"))
    left_out = labels < 0
    starts = torch.zeros_like(left_out)
    for row, group in enumerate(groups):
        for number in range(1, len(group) + 1):
            starts[row, int((segments[row] == number).nonzero()[0])] = True
    image = examples.encoder.image_token_id
    assert torch.equal(left_out, (ids == image) | (segments < 0) | starts)
    assert torch.equal(labels[~left_out], ids[~left_out])
    assert not (left_out & (answer["labels"] >= 0)).any()


def row_losses(trainer: GroundedSFTTrainer, examples: Examples, index: int) -> torch.Tensor:
    """Negative log-probabilities of one record's completion, asked alone in a plain row without packing."""
    encoded = examples.encode(examples.samples[index])
    target = examples.encoder.target(examples.target(examples.samples[index]))
    ids = torch.tensor([[*encoded.prefix_ids, *encoded.context_ids, *target]])
    logits = trainer.model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=encoded.vision.pixel_values,
        image_grid_thw=torch.tensor(encoded.vision.grids),
        mm_token_type_ids=(ids == examples.encoder.image_token_id).int(),
    ).logits[0, -len(target) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(target), reduction="none")


def test_the_loss_is_the_mean_over_the_separate_rows(make, examples: Examples) -> None:
    trainer = make()
    trainer.model.train()
    groups = (ABOUT_LONG, SPATIAL, [4])
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch_of(examples, *groups))
        rows = torch.cat([row_losses(trainer, examples, index) for group in groups for index in group])
    torch.testing.assert_close(loss, rows.mean(), atol=1e-5, rtol=1e-5)


def test_loss_on_everything_counts_a_shared_prompt_once(make, examples: Examples) -> None:
    trainer = make("everything")
    trainer.model.train()
    batch = batch_of(examples, ABOUT_LONG, [4], loss_on="everything")
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, dict(batch))
        labels = batch["labels"][:, 1:]
        logits = trainer.model(**model_inputs(trainer.model, {**batch, "labels": batch["labels"]})).logits
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)


def test_packing_changes_no_update(make) -> None:
    """One step on all records, packed and in rows of their own."""
    trained = []
    for most in (8, 1):
        trainer = make(most_per_pack=most, max_steps=1, per_device_train_batch_size=8, learning_rate=1e-2)
        trainer.train()
        trained.append((trainer.state.log_history[0]["loss"], trainer.state.log_history[0]["grad_norm"]))
    assert trained[0] == pytest.approx(trained[1], rel=1e-4)


def test_the_token_count_excludes_padding(make, examples: Examples) -> None:
    trainer = make(max_steps=1, per_device_train_batch_size=8)
    trainer.train()
    encoder = examples.encoder
    packs = [GroupCollator(examples).pack(group) for group in examples.groups(8)]
    made = collate(packs, image_token=encoder.image_token_id, pad_token=0, merge=encoder.merge)
    assert trainer.state.log_history[0]["num_tokens"] == int((made["segments"] >= 0).sum())


@pytest.mark.parametrize(
    "changed", [{"gradient_checkpointing": True}, {"bf16": True}, {"loss_on": "everything"}]
)
def test_training_works_with_each_setting(make, changed: dict[str, Any]) -> None:
    trainer = make(gradient_accumulation_steps=2, max_steps=3, **changed)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
