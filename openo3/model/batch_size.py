"""How many tokens are decoded at once where nobody has said: as many as the free memory holds.

What a token takes is measured, by decoding one real prompt, and not computed: attention, kernels and numbers
differ between models and machines. A batch for which that was too many is decoded in halves
(`openo3.model.engine`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import psutil
import torch
from pydantic import Field, WrapValidator

if TYPE_CHECKING:
    TokensPerBatch = int | Literal["auto"]
else:  # one line for a wrong number, where a union gives one for each of its members
    TokensPerBatch = Annotated[
        int, Field(ge=1), WrapValidator(lambda value, check: value if value == "auto" else check(value))
    ]
"""A parameter: a number of tokens, or "auto"."""

GPU_SHARE, CPU_SHARE = 0.8, 0.5
"""Of the free memory. The rest is for longer prompts than the measured one, and on a CPU for other programs:
there the system ends a process that takes too much."""
CPU_MOST = 24_576
"""On a CPU, which larger batches do not make faster."""
UNMEASURED = 6144
"""Where memory cannot be measured."""
_CGROUP = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self")
_OF_CPU = ("DefaultCPUAllocator", "Cannot allocate memory", "not enough memory")


class TooLargeError(MemoryError):
    """A single prompt with its answers does not fit into memory."""


def fitting(device: torch.device, decode: Callable[[], int], least: int, to_come: int = 0) -> int:
    """How many tokens fit. `decode` decodes a prompt and returns its tokens. `least` are bytes that a token
    takes in any case, those of the cache: an allocator may serve a small prompt from what it has already.
    `to_come` are bytes that will be in use later.
    """
    if device.type == "cuda":
        decode()  # what kernels allocate at their first use is no part of a token
        taken, tokens = _peak_on_gpu(device, decode)
        free = torch.cuda.mem_get_info(device)[0]
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        share, most = GPU_SHARE, None
    else:
        measured = _peak_on_cpu(decode)
        if measured is None:
            return UNMEASURED
        taken, tokens = measured
        free, share, most = free_ram(), CPU_SHARE, CPU_MOST
    fit = int(share * max(0, free - to_come) / max(taken / tokens, least))
    return max(1, fit if most is None else min(fit, most))


def free_ram() -> int:
    """Bytes that this process can still take, within the limit of its container."""
    free = psutil.virtual_memory().available
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        if most != "max":
            stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
            used = int((_CGROUP / "memory.current").read_text()) - int(stat.get("inactive_file", 0))
            free = min(free, int(most) - used)
    except (OSError, ValueError):  # no such limit here
        pass
    return max(0, free)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it was raised after, says that memory was not sufficient."""
    return any(
        isinstance(each, MemoryError | torch.OutOfMemoryError)
        or (isinstance(each, RuntimeError) and any(word in str(each) for word in _OF_CPU))
        for each in _chain(error)
    )


def release() -> None:
    """Give back what a failed attempt has left."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _peak_on_gpu(device: torch.device, decode: Callable[[], int]) -> tuple[int, int]:
    """Bytes that `decode` takes at most, and its tokens."""
    release()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    tokens = decode()
    return torch.cuda.max_memory_allocated(device) - before, tokens


def _peak_on_cpu(decode: Callable[[], int]) -> tuple[int, int] | None:
    """The same for this process's memory. It is measured at the first use, since freed memory is kept."""
    try:
        (_SELF / "clear_refs").write_text("5")  # Linux: forget the peak so far
        before = _resident("VmRSS")
        tokens = decode()
        return _resident("VmHWM") - before, tokens
    except (OSError, KeyError):
        return None


def _resident(name: str) -> int:
    lines = (_SELF / "status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[name].split()[0]) * 1024
