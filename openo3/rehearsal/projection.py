"""What was measured -> hours and disk of the whole run, what does not fit, and the smallest change that does.

`Counts` are the records of the whole run, in its own data or as published. Hours are those of the GPUs that
were rehearsed on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from openo3.benchmarks.conditions import CONDITIONS
from openo3.checkpoints import CHECKPOINTS
from openo3.rehearsal import footprint
from openo3.rehearsal.footprint import GB, Shape
from openo3.rehearsal.plan import Blocks, packs_per_step, prompts_per_rollout, steps_per_rollout
from openo3.rehearsal.timings import Asked


@dataclass(frozen=True)
class Counts:
    """What the whole run trains on and asks: SFT's packs, GSPO's prompts, records by benchmark. `source`
    says in words where the numbers are from."""

    source: str
    packs: int
    prompts: int
    benchmarks: Mapping[str, int]


def whole_steps(stage: str, blocks: Blocks, counts: Counts, processes: int) -> int:
    """How many updates a stage takes over all its epochs, or its `max_steps`."""
    trainer = blocks[stage]["trainer"]
    if (trainer.get("max_steps") or 0) > 0:
        return trainer["max_steps"]
    epochs = trainer.get("num_train_epochs", 3)  # transformers' default
    if stage == "sft":
        return ceil(epochs * ceil(counts.packs / packs_per_step(trainer, processes)))
    rollouts = counts.prompts // prompts_per_rollout(trainer, processes)
    return ceil(epochs * rollouts * steps_per_rollout(trainer))


def checkpoints_saved(trainer: Mapping[str, Any], steps: int) -> int:
    """How many checkpoints a training of so many steps saves; none at its end."""
    every = trainer.get("save_steps", 500)
    every = ceil(every * steps) if every < 1 else every
    return max(0, ceil(steps / every) - 1) if every else 0


def checkpoints_kept(block: Mapping[str, Any], saved: int) -> int:
    """The most checkpoints that are on the disk at once: without a limit all of them, else those that stay
    and the next, which is written before one goes."""
    limit = block["trainer"].get("save_total_limit")
    return saved if not limit else min(saved, limit + (block.get("keep_best") or 0) + 1)


@dataclass(frozen=True)
class StageHours:
    """A stage of the whole run: hours, and the most gigabytes on the disk beside what it leaves."""

    name: str
    steps: int
    hours: float
    checkpoints_gb: float
    model_gb: float


@dataclass(frozen=True)
class Whole:
    """The whole run. `left_out`: benchmarks that were not rehearsed, so whose hours are missing."""

    stages: Sequence[StageHours]
    evaluation_hours: Mapping[str, float]
    frames_gb: float | None
    left_out: Sequence[str] = field(default_factory=tuple)

    @property
    def hours(self) -> float:
        return sum(stage.hours for stage in self.stages) + sum(self.evaluation_hours.values())

    @property
    def disk_gb(self) -> float:
        """The most at once: the trained models, which stay, and the checkpoints of one stage."""
        most = max((stage.checkpoints_gb for stage in self.stages), default=0.0)
        return most + sum(stage.model_gb for stage in self.stages) + (self.frames_gb or 0.0)


def stage_hours(
    name: str,
    blocks: Blocks,
    steps: int,
    step_s: float,
    *,
    loading_s: float,
    save_s: float,
    checkpoint_bytes: int,
    ending_s: float,
    model_bytes: int,
) -> StageHours:
    """Hours and disk of a training stage by its rates."""
    saved = checkpoints_saved(blocks[name]["trainer"], steps)
    seconds = loading_s + steps * step_s + saved * save_s + ending_s
    kept = checkpoints_kept(blocks[name], saved)
    # The trained model is written to the stage's folder and linked from there
    return StageHours(name, steps, seconds / 3600, kept * checkpoint_bytes / GB, model_bytes / GB)


def evaluation_hours(
    blocks: Blocks, measured: Sequence[Asked], loading_s: float, counts: Counts
) -> tuple[dict[str, float], list[str]]:
    """Hours of each checkpoint's evaluation, and the benchmarks without a measurement.

    A record is assumed to take as long as in the rehearsal, of which each condition was asked of one model.
    """
    settings = blocks["evaluate"]
    votes, limit = settings.get("votes") or {}, settings.get("max_records")
    per_record = {(each.benchmark, each.condition): each.seconds / max(1, each.records) for each in measured}
    hours = {}
    for model in CHECKPOINTS:
        seconds = loading_s
        for benchmark, conditions in settings["decodings"].items():
            left_out = (settings.get("except_for") or {}).get(model, ())
            records = counts.benchmarks.get(benchmark, 0)
            records = min(records, limit or records)
            chosen = [CONDITIONS[name] for name in conditions if name not in left_out]
            voted = min(records, votes.get("max_records") or records)
            for bench, shown in per_record:
                if bench == benchmark:
                    seconds += per_record[bench, shown] * _times(shown, chosen, records, voted)
        hours[model] = seconds / 3600
    asked = {each.benchmark for each in measured}
    return hours, [name for name in settings["decodings"] if name not in asked]


def _times(shown: str, chosen: Sequence[Any], records: int, voted: int) -> int:
    """How many records are asked in what a progress bar shows."""
    votes = {condition.vote for condition in chosen if condition.vote}
    if shown.startswith("evidence"):
        return voted if "relevance" in votes else 0
    if shown.endswith(" samples"):
        return voted if votes else 0
    return records if any(condition.name == shown and not condition.vote for condition in chosen) else 0


Change = tuple[str, Callable[[Blocks], None]]
"""What to write into the profile, and a function that does so in the stage's block."""


def smallest_change(
    stage: str, blocks: Blocks, shape: Shape, gpus: int, memory_gb: float, measured_gb: float | None
) -> str | None:
    """The change of a profile that makes a stage fit into GPUs of `memory_gb`, None if it fits as it is.

    Changes come in the order of what they cost in speed; where no single one is enough, they are joined from
    the first on. What a change saves is estimated (`footprint`); where less was measured than estimated, it
    is taken to save less in proportion. `measured_gb` is None where the stage ran out of memory: it then
    needs at least all there is.
    """
    before, most = _estimate(stage, blocks, shape, gpus, memory_gb), footprint.FITS * memory_gb
    now = measured_gb if measured_gb is not None else max(before, memory_gb)
    if now <= most:
        return None

    def fits(changed: Blocks, on: int = gpus) -> bool:
        saved = before - _estimate(stage, changed, shape, on, memory_gb)
        return now - saved * min(1.0, now / before) <= most

    same = list(_changes(stage, blocks[stage]))
    # An adapter trains something else, so it comes after all that trains the same
    for changes in (same, [*_adapter(stage, blocks[stage])], [*same, *_adapter(stage, blocks[stage])]):
        for text, apply in changes:
            single = copy.deepcopy(blocks)
            apply(single[stage])
            if fits(single):
                return text
        joined, words = copy.deepcopy(blocks), []
        for text, apply in changes:
            apply(joined[stage])
            words.append(text)
            if fits(joined):
                return " and ".join(words)
    more = next((gpus * times for times in (2, 4, 8) if fits(blocks, gpus * times)), None)
    return f"{more} GPUs" if more else "GPUs with more memory"


def _estimate(stage: str, blocks: Blocks, shape: Shape, gpus: int, memory_gb: float) -> float:
    return footprint.most_at_once_gb(footprint.gpu_memory_gb(stage, blocks, shape, gpus, memory_gb))


def _changes(stage: str, block: Blocks) -> Iterator[Change]:
    """What saves memory and trains the same, the cheapest first."""
    trainer = block["trainer"]
    tokens = block["data"].get("tokens_per_batch", 32768) if stage == "gspo" else None
    if isinstance(tokens, int) and not trainer.get("use_vllm"):
        half = tokens // 2
        yield f"gspo.data.tokens_per_batch: {half}", lambda own: own["data"].update(tokens_per_batch=half)
    kwargs = trainer.get("gradient_checkpointing_kwargs") or {}
    recomputes = bool(trainer.get("gradient_checkpointing"))
    if recomputes and kwargs.get("every_n_layers", 1) > 1:
        each = {"gradient_checkpointing_kwargs": {**kwargs, "every_n_layers": 1}}
        yield (
            f"every_n_layers: 1 in {stage}.trainer.gradient_checkpointing_kwargs",
            lambda own: own["trainer"].update(each),
        )
    if not recomputes:
        yield (
            f"{stage}.trainer.gradient_checkpointing: true",
            lambda own: own["trainer"].update(gradient_checkpointing=True),
        )
    if halved := _halved(stage, trainer):
        text = ", ".join(f"{name}: {value}" for name, value in halved.items())
        yield f"{stage}.trainer: {{{text}}}", lambda own: own["trainer"].update(halved)
    if trainer.get("deepspeed") and footprint.zero_stage(trainer) < 3:
        yield (
            f"{stage}.trainer.deepspeed: launch/zero3.json",
            lambda own: own["trainer"].update(deepspeed="launch/zero3.json"),
        )


def _adapter(stage: str, block: Blocks) -> Iterator[Change]:
    """Training an adapter instead of all weights."""
    if block.get("lora") is None:
        lora = {"r": 64, "lora_alpha": 128, "target_modules": "all-linear"}
        text = ", ".join(f"{name}: {value}" for name, value in lora.items())
        yield f"{stage}.lora: {{{text}}}", lambda own: own.update(lora=lora)


def _halved(stage: str, trainer: Mapping[str, Any]) -> dict[str, int]:
    """Half as much at once and twice as often, which trains on the same batches; empty where it cannot be
    halved, as a group of completions stays whole."""
    rows = trainer.get("per_device_train_batch_size") or 8
    least = (trainer.get("num_generations") or 8) if stage == "gspo" else 1
    if rows % 2 or rows // 2 < least:
        return {}
    accumulated = trainer.get("gradient_accumulation_steps") or 1
    halved = {"per_device_train_batch_size": rows // 2, "gradient_accumulation_steps": 2 * accumulated}
    if stage == "gspo":
        halved["steps_per_generation"] = 2 * (trainer.get("steps_per_generation") or accumulated)
    return halved
