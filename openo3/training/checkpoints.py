"""Where a training run keeps its checkpoints, so that a killed one goes on and a changed one starts anew."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

CACHE = Path(".cache/openo3")
# Larger files count by name and size: hashing 16 GB of weights takes longer than loading them
_WHOLE = 64 * 2**20


def workspace(stage: str, inputs: Iterable[Path], settings: Any, root: Path = CACHE) -> Path:
    """The folder for this stage's unfinished work on exactly these inputs and settings.

    Folders of other inputs or settings are removed: nothing can go on from them. All processes of a
    distributed run may call this at once.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in inputs:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in (file for file in files if file.is_file()):
            size = file.stat().st_size
            digest.update(f"{file}\0{size}\0".encode())
            if size < _WHOLE:
                digest.update(file.read_bytes())
    folder = root / stage / digest.hexdigest()[:16]
    for other in (root / stage).glob("*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class KeepBest(TrainerCallback):
    """Removes checkpoints but the newest and the `count` best by what the trainer logs as `metric`.

    A checkpoint is as good as the mean of what was logged since the one before it.
    """

    def __init__(self, metric: str, count: int, *, greater_is_better: bool) -> None:
        self.metric, self.count, self.sign = metric, count, 1 if greater_is_better else -1

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        there = {_step(path): path for path in Path(args.output_dir).glob("checkpoint-*")}
        older = sorted(
            (step for step in there if step < state.global_step), key=lambda s: self._worth(s, args, state)
        )
        for step in older[: max(0, len(older) - self.count)]:
            removed = there[step].with_name(f"removed-{step}")
            there[step].rename(removed)  # at once: none is ever half there
            shutil.rmtree(removed, ignore_errors=True)

    def _worth(self, step: int, args: TrainingArguments, state: TrainerState) -> float:
        since = step - args.save_steps
        logged = [
            entry for entry in state.log_history if since < entry["step"] <= step and self.metric in entry
        ]
        return self.sign * fmean(entry[self.metric] for entry in logged) if logged else float("-inf")


def keepers(metric: str, count: int | None, *, greater_is_better: bool) -> list[TrainerCallback]:
    """`KeepBest` if there is a `count`."""
    return [KeepBest(metric, count, greater_is_better=greater_is_better)] if count else []


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint; half-written ones, which lack the state written last, are removed,
    and what is left of removed ones."""
    for removed in folder.glob("removed-*"):
        shutil.rmtree(removed, ignore_errors=True)
    complete: dict[int, Path] = {}
    for checkpoint in folder.glob("checkpoint-*"):
        state = checkpoint / "trainer_state.json"
        try:
            json.loads(state.read_text())
        except (OSError, ValueError):
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            complete[_step(checkpoint)] = checkpoint
    return str(complete[max(complete)]) if complete else None
