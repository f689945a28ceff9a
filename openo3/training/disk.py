"""What training does when the disk refuses to be written to: it is full, or its folder is gone.

Nothing here stops another process of a distributed run from reaching the end of a save: `noted` collects what
went wrong in this process, and the processes agree afterwards (`openo3.training.trl_compat`).
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

PATIENCE_S = 1800.0
"""How long a trained model waits for space."""
_PAUSE_S = 10.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What torch.save says about a stream that broke or a folder that is gone
_OF_TORCH = ("iostream", "PytorchStreamWriter", "inline_container", "Parent directory", "write(): fd")


def problem_of(error: BaseException) -> str | None:
    """A message about the disk for an error while writing, `None` for any other error.

    A full disk is an `OSError` with number ENOSPC for Python, an error of its own for safetensors, and a
    `RuntimeError` about a stream for `torch.save`.
    """
    text = " ".join(str(error).split())[:200]
    if is_full(error):
        return "the disk is full"
    if isinstance(error, OSError | SafetensorError):
        return text
    if isinstance(error, RuntimeError) and any(word in text for word in _OF_TORCH):
        return f"torch.save: {text}"
    return None


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no space. (Not all of torch's say why they could not write.)"""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return isinstance(error, RuntimeError | SafetensorError) and any(
        os.strerror(number) in str(error) for number in _FULL
    )


def to_disk(folder: Path) -> None:
    """Wait until every file below `folder` is on the disk: a power cut no longer loses it."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def noted(write: Callable[..., Any], problems: list[str]) -> Callable[..., Any]:
    """`write`, except that what the disk refuses is added to `problems`; after that nothing is written."""

    def careful(*args: Any, **kwargs: Any) -> Any:
        if problems:
            return None
        try:
            return write(*args, **kwargs)
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            problems.append(problem)
            return None

    return careful


@contextmanager
def noting_torch_save(problems: list[str]) -> Iterator[None]:
    """Inside, every `torch.save` of this process is `noted`, whichever library calls it."""
    save = torch.save
    torch.save = noted(save, problems)
    try:
        yield
    finally:
        torch.save = save


def with_patience(write: Callable[[], None], what: str) -> None:
    """Write the last result of a long run: while the disk is full, say so once and try again, for up to
    `PATIENCE_S`. Raises the last error then, and any other error at once."""
    until = time.monotonic() + PATIENCE_S
    waiting = False
    while True:
        try:
            return write()
        except Exception as error:
            left = until - time.monotonic()
            if not is_full(error) or left <= 0:
                raise
            if not waiting:
                print(
                    f"{what}: the disk is full, waiting for space for {PATIENCE_S / 60:.0f} minutes at most",
                    file=sys.stderr,
                    flush=True,
                )
            waiting = True
            time.sleep(min(_PAUSE_S, left))
