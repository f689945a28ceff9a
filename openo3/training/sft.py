"""Supervised fine-tuning with TRL's `SFTTrainer` on packs: records about the same frames share a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from openo3.media.frame_store import Frame
from openo3.model.encode import Vision
from openo3.model.packing import Branch, Pack, collate, model_inputs
from openo3.training.balance import BalancedOrder, busiest, shuffled
from openo3.training.examples import Examples
from openo3.training.nonfinite import FiniteSteps, OnNonFinite
from openo3.training.trl_compat import OnFullDisk, OrderedRows, SafeCheckpoints, count_tokens

LossOn = Literal["answer", "everything"]


@dataclass(frozen=True)
class GroupCollator:
    """Groups of sample indices -> one batch; runs in the data loader's workers.

    `loss_on` "answer" trains on the completion alone (TRL's standard), "everything" on the prompt's text
    too (as the published code does): all tokens but padding and image patches.
    """

    examples: Examples
    loss_on: LossOn = "answer"

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        encoder = self.examples.encoder
        batch = collate(
            [self.pack(row["group"]) for row in rows],
            image_token=encoder.image_token_id,
            pad_token=encoder.tokenizer.pad_token_id,
            merge=encoder.merge,
        )
        if self.loss_on == "everything":
            batch["labels"] = everything(batch, encoder.image_token_id)
        batch["samples"] = torch.tensor([index for row in rows for index in row["group"]])
        return batch

    def pack(self, group: Sequence[int]) -> Pack:
        frames = self.examples.frames(self.examples.samples[group[0]])
        return self._pack(group, frames, self.examples.encoder.vision(frames))

    def tokens(self, group: Sequence[int]) -> int:
        """The length of the group's row. No frame is decoded."""
        pack = self._pack(group, *self.examples.unseen(self.examples.samples[group[0]]))
        branches = sum(len(branch.context_ids) + len(branch.target_ids) for branch in pack.branches)
        return len(pack.prefix_ids) + branches

    def _pack(self, group: Sequence[int], frames: tuple[Frame, ...], vision: Vision) -> Pack:
        samples = [self.examples.samples[index] for index in group]
        asked = [(self.examples.prompt(sample, frames), self.examples.target(sample)) for sample in samples]
        encoded = [self.examples.encoder.encode(prompt, vision) for prompt, _ in asked]
        branches = [
            Branch(item.context_ids, self.examples.encoder.target(answer))
            for item, (_, answer) in zip(encoded, asked, strict=True)
        ]
        return Pack(encoded[0].prefix_ids, vision.grids, vision.pixel_values, branches)


def everything(batch: dict[str, torch.Tensor], image_token: int) -> torch.Tensor:
    """Labels for the loss on all text. A branch's first token follows another branch in the row, but not
    in what the model sees, so it is left out, as are image patches and padding."""
    ids, segments = batch["input_ids"], batch["segments"]
    starts = torch.zeros_like(ids, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return ids.masked_fill((ids == image_token) | (segments < 0) | starts, -100)


class GroundedSFTTrainer(FiniteSteps, SafeCheckpoints, OrderedRows, SFTTrainer):
    """`SFTTrainer` whose batches are packs. With `balance`, packs in random order are dealt to several
    processes by their tokens (`openo3.training.balance`)."""

    data_collator: GroupCollator

    def __init__(self, *args: Any, balance: bool = True, **kwargs: Any) -> None:
        self.balance = balance
        super().__init__(*args, **kwargs)

    def order(self) -> BalancedOrder | None:
        processes, batch = self.args.world_size, self.args.per_device_train_batch_size
        if not self.balance or processes == 1 or self.args.train_sampling_strategy != "random":
            return None
        assert isinstance(self.train_dataset, Dataset)
        tokens = [self.data_collator.tokens(group) for group in self.train_dataset["group"]]
        order = BalancedOrder(
            tokens,
            processes,
            batch,
            self.args.gradient_accumulation_steps,
            self.args.seed,
            lambda: int(self.state.epoch or 0),
        )
        if self.is_world_process_zero():
            by_chance = shuffled(len(tokens), torch.Generator().manual_seed(self.args.seed))
            dealt, chance = (busiest(rows, tokens, processes, batch) for rows in ([*order], by_chance))
            print(
                f"sft: packs are dealt to {processes} processes by their tokens: in a step the busiest has "
                f"{dealt:.2f} times the mean, by chance it would have {chance:.2f}",
                flush=True,
            )
        return order

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        inputs = dict(inputs)
        samples = self.data_collator.examples.samples
        self.name_samples(samples[index].id for index in inputs.pop("samples").tolist())
        of_processes: Any = self.accelerator.gather_for_metrics((inputs["segments"] >= 0).sum())
        tokens = of_processes.sum().item()
        # TRL counts tokens by the sum of the attention mask, which here is a square
        with count_tokens(self, tokens, model.training):
            return super().compute_loss(model, model_inputs(model, inputs), *args, **kwargs)


def sft_trainer(
    model: Any,
    processor: Any,
    examples: Examples,
    config: SFTConfig,
    *,
    loss_on: LossOn = "answer",
    most_per_pack: int = 8,
    callbacks: Sequence[TrainerCallback] = (),
    lora: LoraConfig | None = None,
    on_non_finite: OnNonFinite = "stop",
    on_full_disk: OnFullDisk = "continue",
    balance: bool = True,
) -> GroundedSFTTrainer:
    """A trainer over all samples, a batch being `per_device_train_batch_size` packs."""
    # Settings without which packs cannot work; all others are the user's
    config.remove_unused_columns = False
    config.dataset_kwargs = {"skip_prepare_dataset": True}
    config.max_length = None  # would cut through image patches
    groups = examples.groups(most_per_pack)
    return GroundedSFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"group": groups}),
        processing_class=processor,
        data_collator=GroupCollator(examples, loss_on),
        callbacks=list(callbacks),
        peft_config=lora,
        on_non_finite=on_non_finite,
        on_full_disk=on_full_disk,
        balance=balance,
    )
