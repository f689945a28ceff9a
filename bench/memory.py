"""Peak memory of a process since its start. `getrusage` would include its parent's memory at the fork."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path


def peak_mb(process: int | str = "self") -> float:
    """The peak resident memory in megabytes; 0 for a process that has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def children_peak_mb() -> float:
    """The peak resident memory of the largest current child, in megabytes."""
    listed = (file.read_text() for file in Path("/proc/self/task").glob("*/children"))
    return max((peak_mb(pid) for pids in listed for pid in pids.split()), default=0.0)
