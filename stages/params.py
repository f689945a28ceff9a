"""Read a stage's block of `params.yaml` as the stage's own frozen dataclass."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

from openo3.configuration import ConfigurationError, read_block
from openo3.files.locks import file_lock

T = TypeVar("T")
PARAMS = "params.yaml"
LOCKS = Path(".cache/openo3/locks")
_held = ExitStack()  # until the process ends
os.register_at_fork(after_in_child=_held.close)  # the lock belongs to the stage, not to its workers


def load_params(block: str, cls: type[T], path: str = PARAMS) -> T:
    """Read `block` of the parameter file as the dataclass `cls`, see `openo3.configuration`.

    Under DVC, the process then holds the stage until it ends: see `hold_stage`.

    Raises `SystemExit(2)` after one line on standard error that names the file, the block and the key.
    """
    hold_stage()
    try:
        return read_block(path, block, cls)
    except ConfigurationError as error:
        wrong(error)


def hold_stage() -> None:
    """Keep other processes from running the stage that DVC started this one for, until this one ends.

    A stage outlives a `dvc` that is killed alone, and DVC's locks do not: without this lock, the next
    `dvc repro` would write to the same folders at the same time.

    Raises `SystemExit` with one line if another process holds the stage.
    """
    stage = os.environ.get("DVC_STAGE")
    if (
        not stage or os.environ.get("RANK", "0") != "0"
    ):  # run by hand, or not the first process of a distributed run
        return
    path = LOCKS / f"{stage.replace('/', '_')}.lock"

    def busy() -> SystemExit:
        pid = path.read_text() or "unknown"
        return SystemExit(f"{stage}: process {pid} still runs this stage; wait for it or end it: kill {pid}")

    _held.enter_context(file_lock(path, busy))
    path.write_text(str(os.getpid()))


@contextmanager
def settings_of(block: str) -> Iterator[None]:
    """Report another library's errors about `block`, which it gets as settings, in one line."""
    try:
        yield
    except (TypeError, ValueError) as error:
        wrong(f"params.yaml: {block}: {' '.join(str(error).split())}")


def wrong(what: object) -> NoReturn:
    """End the stage with one line on standard error and status 2, which means that a retry cannot help."""
    print(what, file=sys.stderr)
    raise SystemExit(2)
