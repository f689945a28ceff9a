"""Memory of training on a CPU."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of returning each to the kernel.

    By default every activation of more than a few MB is mapped anew and faulted in page by page, which on a
    CPU takes longer than computing it. Without `mallopt` in the C library nothing changes.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
