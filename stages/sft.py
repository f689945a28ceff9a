"""Stage `sft`: base model + annotated reasoning -> a model that answers in the evidence grammar."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from openo3.configuration import Positive
from openo3.model.load import load_processor
from openo3.training.averaging import averaging
from openo3.training.checkpoints import keepers
from openo3.training.examples import Examples
from openo3.training.run import Artifacts, DataParams, TrainingParams, load_examples, pass_on, run
from openo3.training.settings import trainer_config
from openo3.training.sft import GroundedSFTTrainer, LossOn, sft_trainer
from openo3.training.weights import load_for_training, lora_config
from openo3.training.workspace import workspace
from stages.params import load_params, settings_of, wrong
from stages.prompts import load_prompts

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl import SFTConfig

BASE, ROWS, FRAMES = Path("data/models/base"), Path("data/validated/sft.jsonl"), Path("data/frames/train")
COLUMNS = {name: name for name in ("loss", "learning_rate", "grad_norm", "mean_token_accuracy", "entropy")}
ARTIFACTS = Artifacts(Path("data/models/sft"), Path("plots/sft.csv"), Path("metrics/sft.json"), COLUMNS)


@dataclass(frozen=True)
class Data(DataParams):
    """`most_per_pack`: how many records about the same frames share a row. `max_tokens` is about prompts with
    their answers. `balance`: several processes get packs of about as many tokens; one alone is not affected.

    Without `reasoning` every question is asked plainly and only its answer is taught: the control that shows
    what the reasoning contributes.
    """

    loss_on: LossOn = "answer"
    most_per_pack: Positive = 8
    reasoning: bool = True
    balance: bool = True


@dataclass(frozen=True)
class Params(TrainingParams):
    """`trainer` goes to `trl.SFTConfig`, see `TrainingParams`."""

    data: Data = field(default_factory=Data)


def check(params: Params) -> tuple[SFTConfig, LoraConfig | None]:
    """The settings of the libraries. Raises `SystemExit(2)` after one line for those that they refuse."""
    from trl import SFTConfig

    with settings_of("sft.lora"):
        lora = lora_config(params.lora)
    with settings_of("sft.trainer"):
        config = trainer_config(SFTConfig, params.trainer)
    with settings_of("sft.average_from"):
        averaging(params.average_from, config)
    return config, lora


def main() -> None:
    params = load_params("sft", Params)
    templates, prompts = load_prompts()
    if pass_on("sft", ROWS, BASE, ARTIFACTS):
        return
    config, lora = check(params)  # before the model: ZeRO-3 loads it in pieces
    # After the check: it removes the unfinished work of other settings, which mistyped ones must not
    work = workspace("sft", [BASE, ROWS, FRAMES, templates], asdict(params))
    config.output_dir = str(work)

    def make() -> tuple[GroundedSFTTrainer, Examples]:
        processor, data = load_processor(BASE), params.data
        examples = load_examples(
            "sft", ROWS, FRAMES, processor, prompts, data, answered=True, reasoning=data.reasoning
        )
        if not examples.samples:
            wrong(f"sft: no usable record in {ROWS}, nothing to train on")
        trainer = sft_trainer(
            load_for_training(BASE, config, params.lora, params.freeze_vision, params.compile_layers),
            processor,
            examples,
            config,
            loss_on=data.loss_on,
            most_per_pack=data.most_per_pack,
            callbacks=[
                *keepers("loss", params.keep_best, greater_is_better=False),
                *averaging(params.average_from, config),
            ],
            lora=lora,
            on_non_finite=params.on_non_finite,
            on_full_disk=params.on_full_disk,
            balance=data.balance,
        )
        return trainer, examples

    run("sft", work, config, BASE, ARTIFACTS, make, keep_checkpoints=bool(params.keep_best))


if __name__ == "__main__":
    main()
