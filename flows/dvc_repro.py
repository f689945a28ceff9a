"""Reproduce one stage with DVC's library and record the outcome, as DVC reports it.

    python -P flows/dvc_repro.py STAGE OUTCOME_FILE [--force] [--pull]

It does and prints the same as `dvc repro --single-item STAGE`. OUTCOME_FILE then holds one word:

- Unchanged: the stage was up to date.
- Restored: its outputs came from the cache or the remote.
- Ran: its command ran.
- Busy: nothing was done, because another `dvc` is using the same files.

It runs as a script in its own process, because DVC changes global state and stages run in parallel.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.logger import setup
from dvc.repo import Repo
from dvc.stage import Stage
from dvc.stage.cache import StageCache
from dvc.ui import ui


class _RecordingCache(StageCache):
    """DVC's run cache, which remembers whether it restored anything."""

    restored = False

    def restore(self, stage: Stage, *args: Any, **kwargs: Any) -> None:
        super().restore(stage, *args, **kwargs)  # raises if the command has to run
        self.restored = True


def reproduce(name: str, *, force: bool, pull: bool) -> str:
    """Reproduce a stage; return one of the outcomes above.

    Raises `DvcException` if the stage fails.
    """
    opened: Any = Repo(_wait_for_lock=True)  # DVC decorates its methods, which hides their types
    with opened as repo:
        cache = repo.stage_cache = _RecordingCache(repo)
        [stage] = repo.stage.collect(name)
        with repo.lock:
            changed = stage.changed()
        if repo.reproduce([name], single_item=True, force=force, pull=pull, interactive=False):
            return "Restored" if cache.restored else "Ran"
        return "Restored" if changed else "Unchanged"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("stage")
    parser.add_argument("outcome", type=Path)
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--pull", action="store_true")
    given = parser.parse_args()
    setup(logging.INFO)
    ui.enable()
    try:
        outcome = reproduce(given.stage, force=given.force, pull=given.pull)
    except (DvcException, OSError) as error:
        causes: list[BaseException] = [error]
        while (cause := causes[-1].__cause__) is not None:
            causes.append(cause)
        ui.error_write("ERROR:", ": ".join(str(cause) for cause in causes))
        if any(isinstance(cause, LockError) for cause in causes):
            given.outcome.write_text("Busy")
        return 255
    given.outcome.write_text(outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main())
