"""Where a training run keeps its checkpoints, so that a killed one goes on and a changed one starts anew."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint; half-written ones, which lack the state written last, are removed."""
    complete: dict[int, Path] = {}
    for checkpoint in folder.glob("checkpoint-*"):
        state = checkpoint / "trainer_state.json"
        try:
            json.loads(state.read_text())
        except (OSError, ValueError):
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            complete[int(checkpoint.name.rpartition("-")[2])] = checkpoint
    return str(complete[max(complete)]) if complete else None
