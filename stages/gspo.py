"""Stage `gspo`: fine-tuned model + questions with checkable answers -> a model trained on the rewards."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from openo3.core.rewards import RewardSettings, all_rewards
from openo3.model.batch_size import TokensPerBatch
from openo3.model.load import load_processor
from openo3.training.averaging import averaging
from openo3.training.checkpoints import keepers
from openo3.training.examples import Examples
from openo3.training.gspo import (
    GroundedGSPOTrainer,
    check_enough_samples,
    check_save_steps,
    gspo_trainer,
)
from openo3.training.necessity import NAME, NecessityParams
from openo3.training.run import Artifacts, DataParams, TrainingParams, load_examples, pass_on, run
from openo3.training.settings import trainer_config
from openo3.training.weights import load_for_training, lora_config
from openo3.training.workspace import workspace
from stages.params import load_params, settings_of, wrong
from stages.prompts import load_prompts

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl import GRPOConfig

START, ROWS, FRAMES = Path("data/models/sft"), Path("data/validated/rl.jsonl"), Path("data/frames/train")
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
ARTIFACTS = Artifacts(Path("data/models/gspo"), Path("plots/gspo.csv"), Path("metrics/gspo.json"), COLUMNS)


@dataclass(frozen=True)
class Data(DataParams):
    """`tokens_per_batch`: how many tokens, of prompts and of completions to come, are decoded at once; with
    "auto" as many as the free memory holds at the first rollout.
    `max_tokens` is about prompts alone. The reward `ans_where` judges the answers of `direct`."""

    tokens_per_batch: TokensPerBatch = 32768


@dataclass(frozen=True)
class Params(TrainingParams):
    """`trainer` goes to `trl.GRPOConfig`, see `TrainingParams`. `necessity` is a further reward, which asks
    the model itself; without it there is none."""

    data: Data = field(default_factory=Data)
    rewards: RewardSettings = field(default_factory=RewardSettings)
    necessity: NecessityParams | None = None

    def __post_init__(self) -> None:
        if self.data.direct and not self.rewards.weight("ans_where"):
            raise ValueError(
                "data.direct: only ans_where judges these questions; set rewards.weights.ans_where"
            )

    @property
    def artifacts(self) -> Artifacts:
        """What the stage writes; `necessity` has a column where it counts."""
        more = {f"rewards/{NAME}": f"rewards/{NAME}/mean"} if self.necessity else {}
        return replace(ARTIFACTS, columns={**COLUMNS, **more})

    @property
    def added_rewards(self) -> dict[str, float]:
        """The rewards that are not the paper's, with their weights."""
        return self.rewards.added | ({NAME: self.necessity.weight} if self.necessity else {})


def check(params: Params) -> tuple[GRPOConfig, LoraConfig | None]:
    """The settings of the libraries. Raises `SystemExit(2)` after one line for those that they refuse."""
    from trl import GRPOConfig

    with settings_of("gspo.lora"):
        lora = lora_config(params.lora)
    with settings_of("gspo.trainer"):
        config = trainer_config(GRPOConfig, params.trainer)
        check_save_steps(config)
    with settings_of("gspo.average_from"):
        averaging(params.average_from, config)
    return config, lora


def main() -> None:
    params = load_params("gspo", Params)
    templates, prompts = load_prompts()
    if pass_on("gspo", ROWS, START, params.artifacts):
        return
    config, lora = check(params)
    # After the check: it removes the unfinished work of other settings, which mistyped ones must not
    work = workspace("gspo", [START, ROWS, FRAMES, templates], asdict(params))
    config.output_dir = str(work)

    def make() -> tuple[GroundedGSPOTrainer, Examples]:
        processor, data = load_processor(START), params.data
        examples = load_examples("gspo", ROWS, FRAMES, processor, prompts, data, answered=False)
        if not examples.samples:
            wrong(f"gspo: no usable record in {ROWS}, nothing to train on")
        with settings_of("gspo.trainer"):
            check_enough_samples(config, len(examples.samples))
        trainer = gspo_trainer(
            load_for_training(START, config, params.lora, params.freeze_vision, params.compile_layers),
            processor,
            examples,
            config,
            params.rewards,
            callbacks=[
                *keepers("reward", params.keep_best, greater_is_better=True),
                *averaging(params.average_from, config),
            ],
            tokens_per_batch=data.tokens_per_batch,
            lora=lora,
            on_non_finite=params.on_non_finite,
            on_full_disk=params.on_full_disk,
            necessity=params.necessity,
        )
        return trainer, examples

    run(
        "gspo", work, config, START, params.artifacts, make,
        keep_checkpoints=bool(params.keep_best), facts={"added_rewards": params.added_rewards},
    )  # fmt: skip


if __name__ == "__main__":
    main()
