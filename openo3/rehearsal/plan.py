"""What a rehearsal changes of a profile, and how it starts a stage.

Steps, checkpoints and records become few; reports to others are off; every step is logged. All else is the
profile's own: batch sizes, lengths, precision, sharding, decodings.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from pathlib import Path
from typing import Any

from openo3.checkpoints import TRAINING

Blocks = dict[str, Any]

ENDLESS = 1_000_000  # steps of a rehearsal's schedule: the probe ends it, and no schedule ends early


@dataclass(frozen=True)
class Steps:
    """Steps of a training stage: a rollout lasts `cycle` of them (1 in SFT). A rehearsal takes at least
    `least` and at most `most` before its checkpoint, fewer than that after `seconds`."""

    cycle: int
    least: int
    most: int
    seconds: float


class LauncherError(ValueError):
    """The profile's launcher cannot be given a number of GPUs; one line."""


def steps_per_rollout(trainer: Mapping[str, Any]) -> int:
    """Updates of a GSPO trainer between two rollouts, after which a checkpoint may be saved."""
    accumulated = trainer.get("gradient_accumulation_steps") or 1
    batches = (trainer.get("steps_per_generation") or accumulated) * (trainer.get("num_iterations") or 1)
    return batches // gcd(batches, accumulated)


def prompts_per_rollout(trainer: Mapping[str, Any], processes: int) -> int:
    """Prompts of one rollout on all GPUs together."""
    accumulated = trainer.get("gradient_accumulation_steps") or 1
    batches = trainer.get("steps_per_generation") or accumulated
    rows = trainer.get("generation_batch_size") or (
        (trainer.get("per_device_train_batch_size") or 8) * batches * processes
    )
    return rows // (trainer.get("num_generations") or 8)


def packs_per_step(trainer: Mapping[str, Any], processes: int) -> int:
    """Packs of one SFT step on all GPUs together."""
    rows = trainer.get("per_device_train_batch_size") or 8
    return rows * (trainer.get("gradient_accumulation_steps") or 1) * processes


def steps_of(stage: str, blocks: Blocks, minutes: float) -> Steps:
    """How long a stage is rehearsed: the first step or rollout warms up, at least one more is measured."""
    if stage == "sft":
        return Steps(1, least=4, most=20, seconds=0.15 * 60 * minutes)
    cycle = steps_per_rollout(blocks["gspo"]["trainer"])
    return Steps(cycle, least=2 * cycle, most=max(4 * cycle, 8), seconds=0.4 * 60 * minutes)


def records_needed(blocks: Blocks, processes: int) -> dict[str, int]:
    """Records of "sft" and "rl" for a rehearsal in which no epoch is over at once: where one ends, workers
    that read data start again."""
    packs = 8 * packs_per_step(blocks["sft"]["trainer"], processes)
    prompts = 2 * prompts_per_rollout(blocks["gspo"]["trainer"], processes)
    return {"sft": packs, "rl": prompts}


def shortened(blocks: Blocks, root: Path, records: int, world: Path | None) -> Blocks:
    """The parameters of the rehearsal. Paths are those of the checkout `root`; `records` are asked of each
    benchmark; data come from the folder `world`, if one was made."""
    own = copy.deepcopy(blocks)
    own["prompts"] = str((root / own["prompts"]).resolve())
    for stage in TRAINING:
        trainer = own[stage]["trainer"]
        cycle = steps_of(stage, own, 0).cycle
        trainer |= {"max_steps": ENDLESS, "save_strategy": "steps", "save_steps": cycle}
        trainer |= {"logging_strategy": "steps", "logging_steps": 1, "report_to": "none"}
        if trainer.get("deepspeed"):
            trainer["deepspeed"] = str((root / trainer["deepspeed"]).resolve())
    evaluate = own["evaluate"]
    evaluate["max_records"] = min(records, evaluate.get("max_records") or records)
    if votes := evaluate.get("votes"):
        votes["max_records"] = min(records, votes.get("max_records") or records)
    if world is not None:
        own["download"] = {"source": "local", "path": str(world)}
        own["sample_frames"]["executor"] = "local"
        own["sample_frames"]["shards"] = min(4, own["sample_frames"]["shards"])
    return own


def command(launcher: str, root: Path, gpus: int | None) -> list[str]:
    """The launcher's words with `gpus` processes (as it says itself if None); files become absolute paths.

    Raises `LauncherError` for a launcher that names no number of GPUs.
    """
    words = [
        str((root / word).resolve()) if (root / word).is_file() else word for word in shlex.split(launcher)
    ]
    if gpus is None:
        return words
    for program, option in (("accelerate", "--num_processes"), ("torchrun", "--nproc-per-node")):
        if program in words:
            place = words.index(program) + (2 if program == "accelerate" else 1)
            kept = _without(words[place:], option)
            return [*words[:place], option, str(gpus), *kept]
    if gpus == 1:
        return words
    raise LauncherError(
        f"launcher.train: {launcher!r} starts one process, so --gpus {gpus} has no meaning; "
        "`accelerate launch` or `torchrun` start several"
    )


def processes(launcher: str, root: Path) -> int:
    """How many processes the launcher starts on one machine by itself."""
    words = shlex.split(launcher.replace("=", " "))
    after = dict(pairwise(words))
    for option in ("--num_processes", "--nproc-per-node", "--nproc_per_node"):
        if option in after:
            return int(after[option]) if after[option].isdecimal() else 1
    if "accelerate" in words and "--config_file" in after:
        from accelerate.commands.config.config_args import load_config_from_file  # seconds, so only here

        config: Any = load_config_from_file(str(root / after["--config_file"]))
        return config.num_processes
    return 1


def _without(words: list[str], option: str) -> list[str]:
    """Words of a command line without an option and its value, in either way of writing both."""
    kept, skip = [], False
    spellings = {option, option.replace("-", "_").replace("__", "--", 1), option.replace("_", "-")}
    for word in words:
        if skip:
            skip = False
        elif word in spellings:
            skip = True
        elif word.partition("=")[0] not in spellings:
            kept.append(word)
    return kept
