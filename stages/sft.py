"""Stage `sft`: base model + annotated reasoning -> a model that answers in the evidence grammar."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from openo3.configuration import NonNegative, Positive
from openo3.media.frame_store import FrameStore
from openo3.model.encode import PromptEncoder
from openo3.model.load import load_processor
from openo3.training import checkpoints, record
from openo3.training.examples import Examples
from openo3.training.nonfinite import OnNonFinite
from openo3.training.sft import LossOn, sft_trainer
from openo3.training.weights import load_for_training, lora_config
from stages.params import load_params, settings_of, wrong

BASE, ROWS, FRAMES = Path("data/models/base"), Path("data/validated/sft.jsonl"), Path("data/frames/train")
MODEL, CURVE, METRICS = Path("data/models/sft"), Path("plots/sft.csv"), Path("metrics/sft.json")
COLUMNS = {name: name for name in ("loss", "learning_rate", "grad_norm", "mean_token_accuracy", "entropy")}


@dataclass(frozen=True)
class Data:
    """`most_per_pack`: how many records about the same frames share a row. Records of more than `max_tokens`
    with their answers are left out.

    `direct`: also ask where the key items are, to be answered at once (`Examples.with_direct`). Without
    `reasoning` every question is asked plainly and its answer taught alone: the control that shows what the
    reasoning brings.
    """

    max_samples: Positive | None = None
    max_tokens: Positive | None = None
    loss_on: LossOn = "answer"
    most_per_pack: Positive = 8
    direct: bool = False
    reasoning: bool = True


@dataclass(frozen=True)
class Params:
    """`trainer` goes to `trl.SFTConfig`, `lora` to `peft.LoraConfig`, each under its own names.
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


def main() -> None:
    from trl import SFTConfig

    params = load_params("sft", Params)
    work = checkpoints.workspace("sft", [BASE, ROWS, FRAMES / "index.json"], asdict(params))
    with settings_of("sft.lora"):
        lora = lora_config(params.lora)
    with settings_of("sft.trainer"):  # before the model: ZeRO-3 loads it in pieces
        config = SFTConfig(output_dir=str(work), **params.trainer)
    processor = load_processor(BASE)
    examples = Examples.load(ROWS, FrameStore.open(FRAMES), PromptEncoder(processor), params.data.max_samples)
    examples = replace(examples, reasoning=params.data.reasoning)
    examples = examples.with_direct() if params.data.direct else examples
    examples = examples.within(params.data.max_tokens, answered=True)
    left_out = f"{examples.without_frames:,} without frames and {examples.too_long:,} too long left out"
    print(f"sft: {len(examples.samples):,} records, {left_out}")
    if not examples.samples:
        wrong(f"sft: no usable record in {ROWS}, nothing to train on")
    trainer = sft_trainer(
        load_for_training(BASE, config, params.lora, params.freeze_vision, params.compile_layers),
        processor,
        examples,
        config,
        loss_on=params.data.loss_on,
        most_per_pack=params.data.most_per_pack,
        callbacks=checkpoints.keepers("loss", params.keep_best, greater_is_better=False),
        lora=lora,
        on_non_finite=params.on_non_finite,
    )
    trainer.train(resume_from_checkpoint=checkpoints.last_checkpoint(work))
    counts = examples.counts | {"steps_left_out": trainer.steps_left_out}
    record.save(trainer, BASE, MODEL, CURVE, METRICS, COLUMNS, counts)
    if trainer.is_world_process_zero() and not params.keep_best:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
