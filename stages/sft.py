"""Stage `sft`: base model + annotated reasoning -> a model that answers in the evidence grammar."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openo3.media.frame_store import FrameStore
from openo3.model.encode import PromptEncoder
from openo3.model.load import load_model, load_processor
from openo3.training import checkpoints, record
from openo3.training.examples import Examples
from openo3.training.sft import LossOn, sft_trainer
from stages.params import load_params

BASE, ROWS, FRAMES = Path("data/models/base"), Path("data/validated/sft.jsonl"), Path("data/frames/train")
MODEL, CURVE, METRICS = Path("data/models/sft"), Path("plots/sft.csv"), Path("metrics/sft.json")
COLUMNS = {name: name for name in ("loss", "learning_rate", "grad_norm", "mean_token_accuracy", "entropy")}


@dataclass(frozen=True)
class Data:
    """`most_per_pack`: how many records about the same frames share a row."""

    max_samples: int | None = None
    loss_on: LossOn = "answer"
    most_per_pack: int = 8


@dataclass(frozen=True)
class Params:
    """`trainer` goes to `trl.SFTConfig` under its own names."""

    trainer: dict[str, Any]
    data: Data = field(default_factory=Data)


def main() -> None:
    from trl import SFTConfig

    params = load_params("sft", Params)
    work = checkpoints.workspace("sft", [BASE, ROWS, FRAMES / "index.json"], asdict(params))
    processor = load_processor(BASE)
    examples = Examples.load(ROWS, FrameStore.open(FRAMES), PromptEncoder(processor), params.data.max_samples)
    print(f"sft: {len(examples.samples):,} records, {examples.without_frames:,} without frames left out")
    trainer = sft_trainer(
        load_model(BASE),
        processor,
        examples,
        SFTConfig(output_dir=str(work), **params.trainer),
        loss_on=params.data.loss_on,
        most_per_pack=params.data.most_per_pack,
    )
    trainer.train(resume_from_checkpoint=checkpoints.last_checkpoint(work))
    counts = {"samples": len(examples.samples), "without_frames": examples.without_frames}
    record.save(trainer, MODEL, CURVE, METRICS, COLUMNS, counts)
    if trainer.is_world_process_zero():
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
