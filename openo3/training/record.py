"""The results of a training run: the model, its curve as CSV, its last numbers as JSON.

The trained model is first written to the run's workspace, atomically and together with the run's numbers.
From then on the artifacts can be written again without training.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer

from openo3.files.artifacts import atomic_directory, link_or_copy, write_csv, write_json
from openo3.training.disk import to_disk
from openo3.training.weights import save_whole

TRAINED = "trained"
_RUN = "run.json"


def keep(trainer: Trainer, base: Path, work: Path, counts: Mapping[str, Any]) -> None:
    """Keep the trained model and the run's numbers in the workspace `work`; every process calls this.

    `base` is what an adapter is merged into; `counts` belong to the run's metrics.
    """
    if not trainer.is_world_process_zero():
        trainer.save_model(str(work / TRAINED))  # a sharded model is gathered by all processes
        return
    run = {"steps": trainer.state.global_step, "counts": counts, "log": trainer.state.log_history}
    with atomic_directory(work / TRAINED) as folder:
        (folder / "model").mkdir()
        save_whole(trainer, base, folder / "model")
        (folder / "model/training_args.bin").unlink(missing_ok=True)  # a pickle with this machine's paths
        # Python's JSON keeps non-finite numbers, which the curve shows
        (folder / _RUN).write_text(json.dumps(run, default=float))
        to_disk(folder)  # the checkpoints go next


def is_kept(work: Path) -> bool:
    """Whether training in this workspace is complete."""
    return (work / TRAINED / _RUN).is_file()


def publish(work: Path, model: Path, curve: Path, metrics: Path, columns: Mapping[str, str]) -> None:
    """Write the artifacts of a complete training, on the main process only.

    `columns` maps a CSV column to the name under which the trainer logs it. The metrics hold the run's counts
    and each column's mean over the last tenth of its values.
    """
    run = json.loads((work / TRAINED / _RUN).read_text())
    history = [entry for entry in run["log"] if "loss" in entry]
    rows = [
        {"step": entry["step"]} | {name: entry.get(logged) for name, logged in columns.items()}
        for entry in history
    ]
    with atomic_directory(model) as folder:
        shutil.copytree(work / TRAINED / "model", folder, copy_function=link_or_copy, dirs_exist_ok=True)
    write_csv(curve, rows, ["step", *columns])
    last = {name: _late([row[name] for row in rows if row[name] is not None]) for name in columns}
    write_json(metrics, {"steps": run["steps"], **run["counts"], "last": last})


def _late(values: Sequence[float]) -> float | None:
    """The mean of the last tenth of the logged values."""
    late = values[-math.ceil(len(values) / 10) :]
    return round(sum(late) / len(late), 5) if late else None
