"""A lock on a file, for one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path, busy: Callable[[], BaseException]) -> Iterator[None]:
    """Hold the lock `path`; the kernel gives it back when the process ends in whatever way.

    Raises what `busy` makes, at once, if another one holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # flock needs no permission to write, so that two users of one checkout see each other
    if path.is_symlink():
        path.unlink()  # opening it would create a file elsewhere
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy() from None
        yield
    finally:
        os.close(descriptor)
