"""Read every block of `params.yaml` as its stage does, before any stage runs: `python -m stages.check`.

A stage checks its own block when it starts. Without this, a mistake in `evaluate` would be found when
training has ended. A file that was found good is not checked again.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path

from openo3.configuration import ConfigurationError, read_blocks
from openo3.files.artifacts import atomic_file
from openo3.files.import_closure import ROOT
from stages.params import LOCKS, PARAMS, load_params, wrong
from stages.prompts import load_prompts

STAGES = tuple(read_blocks(ROOT / "dvc.yaml")["stages"])
CHECKED = LOCKS.parent / "checked-parameters"
"""The digest of the parameters and prompts that were last found good."""


def main() -> None:
    """Raises `SystemExit(2)` after one line that names the file, the block and the key."""
    templates, prompts = load_prompts()
    digest = hashlib.sha256(Path(PARAMS).read_bytes() + b"\0" + templates.read_bytes()).hexdigest()
    if CHECKED.is_file() and CHECKED.read_bytes() == digest.encode():
        return
    try:
        unknown = set(read_blocks(PARAMS)) - {*STAGES, "launcher", "requires", "prompts"}
    except ConfigurationError as error:
        wrong(error)
    if unknown:
        wrong(f"{PARAMS}: {min(map(str, unknown))}: no stage of this name")
    for name in STAGES:
        stage = import_module(f"stages.{name}")
        params = load_params(name, stage.Params)
        if name in ("sft", "gspo"):
            stage.check(params)
        elif name == "evaluate":
            stage.check(params, prompts)
    CHECKED.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(CHECKED) as part:
        part.write_text(digest)


if __name__ == "__main__":
    main()
