"""Stage `gspo`: fine-tuned model + questions with checkable answers -> a model trained on the rewards."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openo3.media.frame_store import FrameStore
from openo3.model.encode import PromptEncoder
from openo3.model.load import load_model, load_processor
from openo3.rewards import REWARDS
from openo3.training import checkpoints, record
from openo3.training.examples import Examples
from openo3.training.gspo import RewardSettings, gspo_trainer
from stages.params import load_params

START, ROWS, FRAMES = Path("data/models/sft"), Path("data/validated/rl.jsonl"), Path("data/frames/train")
MODEL, CURVE, METRICS = Path("data/models/gspo"), Path("plots/gspo.csv"), Path("metrics/gspo.json")
COLUMNS = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "reward": "reward",
    "reward_std": "reward_std",
    **{f"rewards/{name}": f"rewards/{name}/mean" for name in REWARDS},
    "kl": "kl",
    "clip_ratio": "clip_ratio/region_mean",
    "entropy": "entropy",
    "completion_length": "completions/mean_length",
    "groups_without_signal": "frac_reward_zero_std",
}


@dataclass(frozen=True)
class Data:
    """`tokens_per_batch`: how many tokens, of prompts and of completions to come, are decoded at once."""

    max_samples: int | None = None
    tokens_per_batch: int = 32768


@dataclass(frozen=True)
class Params:
    """`trainer` goes to `trl.GRPOConfig` under its own names."""

    trainer: dict[str, Any]
    data: Data = field(default_factory=Data)
    rewards: RewardSettings = field(default_factory=RewardSettings)


def main() -> None:
    from trl import GRPOConfig

    params = load_params("gspo", Params)
    work = checkpoints.workspace("gspo", [START, ROWS, FRAMES / "index.json"], asdict(params))
    processor = load_processor(START)
    examples = Examples.load(ROWS, FrameStore.open(FRAMES), PromptEncoder(processor), params.data.max_samples)
    print(f"gspo: {len(examples.samples):,} records, {examples.without_frames:,} without frames left out")
    config = GRPOConfig(output_dir=str(work), **params.trainer)
    trainer = gspo_trainer(
        load_model(START),
        processor,
        examples,
        config,
        params.rewards,
        tokens_per_batch=params.data.tokens_per_batch,
    )
    trainer.train(resume_from_checkpoint=checkpoints.last_checkpoint(work))
    counts = {"samples": len(examples.samples), "without_frames": examples.without_frames}
    record.save(trainer, MODEL, CURVE, METRICS, COLUMNS, counts)
    if trainer.is_world_process_zero():
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
