"""A training run's checkpoints: digests that show whether one is whole, and which of them stay.

A checkpoint counts only once it is sealed: `digests.json`, written last, has the size and the SHA-256 of each
of its files. One that was cut off, zeroed or lost a file is never resumed from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from openo3.files.artifacts import read_json, write_json
from openo3.training.disk import to_disk

SEAL = "digests.json"


def seal(checkpoint: Path) -> None:
    """Write the digests of a complete checkpoint, once its files are on the disk. Only checkpoints with
    digests are used."""
    to_disk(checkpoint)  # older ones go next, and a power cut must not take this one too
    write_json(checkpoint / SEAL, _digests(checkpoint))


def damage(checkpoint: Path) -> str | None:
    """The problem with a checkpoint as text, `None` if every byte is as it was saved."""
    try:
        expected = dict(read_json(checkpoint / SEAL))
    except FileNotFoundError:
        return "it was not saved to the end"
    except (OSError, TypeError, ValueError):
        return f"{SEAL} cannot be read"
    missing = sorted(name for name in expected if not (checkpoint / name).is_file())
    if missing:
        return f"{missing[0]} is missing"
    cut = [name for name, (size, _) in expected.items() if (checkpoint / name).stat().st_size != size]
    if cut:
        return f"{min(cut)} has another size"
    found = _digests(checkpoint)
    other = sorted(name for name in expected if found[name] != expected[name])
    return f"the content of {other[0]} has changed" if other else None


def last_checkpoint(folder: Path, stage: str) -> str | None:
    """The newest whole checkpoint below `folder`; damaged and incomplete ones are removed, one line each.

    In a distributed run one process calls this for all of them, see `openo3.training.run`.
    """
    for removed in folder.glob("removed-*"):
        shutil.rmtree(removed, ignore_errors=True)
    dropped = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        wrong = damage(checkpoint)
        if wrong is None:
            for name, why in dropped:
                print(f"{stage}: {name} is dropped ({why}): resumes from {checkpoint.name}", flush=True)
            return str(checkpoint)
        dropped.append((checkpoint.name, wrong))
        shutil.rmtree(checkpoint, ignore_errors=True)
    for name, why in dropped:
        print(f"{stage}: {name} is dropped ({why}): there is no older one, starts anew", flush=True)
    return None


def sealed(folder: Path) -> list[Path]:
    """The checkpoints below `folder` that were saved to the end."""
    return [path for path in folder.glob("checkpoint-*") if (path / SEAL).is_file()]


def space_needed(folder: Path) -> int:
    """The expected size of the next checkpoint in bytes: that of the newest one, 0 if there is none."""
    newest = max(sealed(folder), key=_step, default=None)
    if newest is None:
        return 0
    return sum(file.stat().st_size for file in newest.rglob("*") if file.is_file() and file.name != SEAL)


def _digests(checkpoint: Path) -> dict[str, list[Any]]:
    """`[size, SHA-256]` by path of every file, many at a time: hashing releases the GIL."""

    def digest(file: Path) -> list[Any]:
        with file.open("rb") as opened:
            return [file.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest()]

    files = {str(f.relative_to(checkpoint)): f for f in checkpoint.rglob("*") if f.is_file()}
    files = {name: files[name] for name in sorted(files) if name != SEAL}
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return dict(zip(files, pool.map(digest, files.values()), strict=True))


class NoLastCheckpoint(TrainerCallback):
    """Skips the checkpoint at the end of training: the trained model itself is saved then."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step >= state.max_steps:
            control.should_save = False

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.on_step_end(args, state, control)


class KeepBest(TrainerCallback):
    """Removes all checkpoints but the newest and the `count` best ones by what the trainer logs as `metric`.

    A checkpoint's value is the mean of what was logged since the one before it.
    """

    def __init__(self, metric: str, count: int, *, greater_is_better: bool) -> None:
        self.metric, self.count, self.sign = metric, count, 1 if greater_is_better else -1

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        # Only sealed checkpoints, so that the newest whole one stays even if this save failed
        assert args.output_dir is not None  # transformers names one where none is set
        there = {_step(path): path for path in sealed(Path(args.output_dir))}
        older = sorted(sorted(there)[:-1], key=lambda step: self._value(step, args, state))
        for step in older[: max(0, len(older) - self.count)]:
            removed = there[step].with_name(f"removed-{step}")
            with suppress(OSError):  # the disk is gone: the other processes must not wait for this one
                there[step].rename(removed)  # atomic: a checkpoint is never half removed
                shutil.rmtree(removed, ignore_errors=True)

    def _value(self, step: int, args: TrainingArguments, state: TrainerState) -> float:
        since = step - args.save_steps
        logged = [
            entry for entry in state.log_history if since < entry["step"] <= step and self.metric in entry
        ]
        return self.sign * fmean(entry[self.metric] for entry in logged) if logged else float("-inf")


def keepers(metric: str, count: int | None, *, greater_is_better: bool) -> list[TrainerCallback]:
    """The callbacks that decide which checkpoints are kept; `KeepBest` if there is a `count`."""
    best = [KeepBest(metric, count, greater_is_better=greater_is_better)] if count else []
    return [NoLastCheckpoint(), *best]


def _step(checkpoint: Path) -> int:
    """The number of updates before `checkpoint-N`; -1 for a folder with another name."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
