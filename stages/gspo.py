"""Stage `gspo`: fine-tuned model + questions with checkable answers -> a model trained on the rewards."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openo3.configuration import NonNegative, Positive
from openo3.media.frame_store import FrameStore
from openo3.model.encode import PromptEncoder
from openo3.model.load import load_processor
from openo3.training import checkpoints, record
from openo3.training.examples import Examples
from openo3.training.gspo import RewardSettings, all_rewards, gspo_trainer
from openo3.training.nonfinite import OnNonFinite
from openo3.training.weights import load_for_training, lora_config
from stages.params import load_params, settings_of, wrong

START, ROWS, FRAMES = Path("data/models/sft"), Path("data/validated/rl.jsonl"), Path("data/frames/train")
MODEL, CURVE, METRICS = Path("data/models/gspo"), Path("plots/gspo.csv"), Path("metrics/gspo.json")
COLUMNS = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "reward": "reward",
    "reward_std": "reward_std",
    **{f"rewards/{name}": f"rewards/{name}/mean" for name in all_rewards()},
    "kl": "kl",
    "clip_ratio": "clip_ratio/region_mean",
    "entropy": "entropy",
    "completion_length": "completions/mean_length",
    "groups_without_signal": "frac_reward_zero_std",
}


@dataclass(frozen=True)
class Data:
    """`tokens_per_batch`: how many tokens, of prompts and of completions to come, are decoded at once.
    Records whose prompts have more than `max_tokens` are left out. `direct`: also ask where the key items
    are, to be answered at once (`Examples.with_direct`), which the reward `ans_where` judges."""

    max_samples: Positive | None = None
    max_tokens: Positive | None = None
    tokens_per_batch: Positive = 32768
    direct: bool = False


@dataclass(frozen=True)
class Params:
    """`trainer` goes to `trl.GRPOConfig`, `lora` to `peft.LoraConfig`, each under its own names.
    `freeze_vision`: the tower that sees, its merger included, stays as it is. `compile_layers`: with
    torch.compile, which needs a C++ compiler, or Triton on a GPU.

    `keep_best`: beside the newest checkpoint so many of the best stay, in .cache/openo3 after the run too.
    """

    trainer: dict[str, Any]
    lora: dict[str, Any] | None = None
    freeze_vision: bool = False
    compile_layers: bool = False
    on_non_finite: OnNonFinite = "stop"
    keep_best: NonNegative | None = None
    data: Data = field(default_factory=Data)
    rewards: RewardSettings = field(default_factory=RewardSettings)

    def __post_init__(self) -> None:
        if self.data.direct and not self.rewards.weight("ans_where"):
            raise ValueError(
                "data.direct: only ans_where judges these questions; set rewards.weights.ans_where"
            )


def main() -> None:
    from trl import GRPOConfig

    params = load_params("gspo", Params)
    work = checkpoints.workspace("gspo", [START, ROWS, FRAMES / "index.json"], asdict(params))
    with settings_of("gspo.lora"):
        lora = lora_config(params.lora)
    with settings_of("gspo.trainer"):
        config = GRPOConfig(output_dir=str(work), **params.trainer)
    processor = load_processor(START)
    examples = Examples.load(ROWS, FrameStore.open(FRAMES), PromptEncoder(processor), params.data.max_samples)
    examples = examples.with_direct() if params.data.direct else examples
    examples = examples.within(params.data.max_tokens, answered=False)
    left_out = f"{examples.without_frames:,} without frames and {examples.too_long:,} too long left out"
    print(f"gspo: {len(examples.samples):,} records, {left_out}")
    if not examples.samples:
        wrong(f"gspo: no usable record in {ROWS}, nothing to train on")
    trainer = gspo_trainer(
        load_for_training(START, config, params.lora, params.freeze_vision, params.compile_layers),
        processor,
        examples,
        config,
        params.rewards,
        callbacks=checkpoints.keepers("reward", params.keep_best, greater_is_better=True),
        tokens_per_batch=params.data.tokens_per_batch,
        lora=lora,
        on_non_finite=params.on_non_finite,
    )
    trainer.train(resume_from_checkpoint=checkpoints.last_checkpoint(work))
    counts = examples.counts | {"steps_left_out": trainer.steps_left_out}
    record.save(trainer, START, MODEL, CURVE, METRICS, COLUMNS, counts)
    if trainer.is_world_process_zero() and not params.keep_best:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
