"""What a training run leaves behind: the model, its curve as CSV, its last numbers as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer

from openo3.files.artifacts import atomic_directory, write_csv, write_json
from openo3.training.weights import save_whole


def save(
    trainer: Trainer,
    base: Path,
    model: Path,
    curve: Path,
    metrics: Path,
    columns: Mapping[str, str],
    counts: Mapping[str, Any],
) -> None:
    """Write the run's artifacts, on the main process only.

    `columns` maps a CSV column to the name under which the trainer logs it. The metrics hold `counts` and
    each column's mean over the last tenth of its values. `base` is what an adapter is merged into.
    """
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    rows = [
        {"step": entry["step"]} | {name: entry.get(logged) for name, logged in columns.items()}
        for entry in history
    ]
    for file in (model, curve, metrics):
        file.parent.mkdir(parents=True, exist_ok=True)
    if not trainer.is_world_process_zero():
        trainer.save_model(str(model))  # a sharded model is gathered by all processes
        return
    with atomic_directory(model) as folder:
        save_whole(trainer, base, folder)
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle with this machine's paths
    write_csv(curve, rows, ["step", *columns])
    last = {name: _late([row[name] for row in rows if row[name] is not None]) for name in columns}
    write_json(metrics, {"steps": trainer.state.global_step, **counts, "last": last})


def _late(values: Sequence[float]) -> float | None:
    """Mean of the last tenth of what was logged."""
    late = values[-math.ceil(len(values) / 10) :]
    return round(sum(late) / len(late), 5) if late else None
