"""Limits of fetching: connections, bandwidth, disk, and the size of one file."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from threading import Lock

from openo3.configuration import ConfigurationError

GB = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """`bandwidth_mb_s` applies to all connections together. `disk_gb` limits the final size of `data/raw`.

    A connection counts as broken if it is silent for `stall_s` seconds, or slower than `least_kb_s` over that
    time. After `tries` failures in a row, with waits that double from `wait_s` on, the file is skipped in
    this run. A file is refused if it is larger than `file_gb`, or unpacks to more than `inflation` times its
    packed size.
    """

    threads: int = 8
    bandwidth_mb_s: float | None = None
    disk_gb: float | None = None
    stall_s: float = 30.0
    tries: int = 6
    wait_s: float = 1.0
    least_kb_s: float = 1.0
    file_gb: float = 20.0
    inflation: float = 100.0

    def __post_init__(self) -> None:
        for name, value in ((each.name, getattr(self, each.name)) for each in fields(self)):
            if value is not None and not value > 0:
                raise ConfigurationError(f"limits.{name}: {value!r}, must be more than 0")


class Throttle:
    """Limits the total rate of its callers to `bytes_per_s`."""

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._due, self._lock = 0.0, Lock()

    def add(self, count: int) -> None:
        """Account for `count` received bytes, and wait until the rate is back within the limit."""
        if self._bytes_per_s is None:
            return
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now) + count / self._bytes_per_s
            wait = self._due - now
        time.sleep(wait)
