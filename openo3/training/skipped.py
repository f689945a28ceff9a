"""A training stage without records: its model is the one that it starts from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from openo3.files.artifacts import atomic_directory, write_csv, write_json


def pass_on(
    stage: str, rows: Path, start: Path, model: Path, curve: Path, metrics: Path, columns: Iterable[str]
) -> bool:
    """If there are no records in `rows`, write the artifacts of a run of 0 steps and say so; else False.

    `model` becomes a copy of `start`. All processes of a distributed run may call this; the first one writes.
    """
    if rows.exists() and rows.stat().st_size:
        return False
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"{stage}: {rows} holds no records, so nothing is trained: {model} is a copy of {start}")
        for file in (model, curve, metrics):
            file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_directory(model) as folder:
            shutil.copytree(start, folder, dirs_exist_ok=True)
        write_csv(curve, [], ["step", *columns])
        write_json(metrics, {"steps": 0, "samples": 0, "last": dict.fromkeys(columns)})
    return True
