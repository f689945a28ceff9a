"""Limits of fetching: connections, bandwidth, disk, and the size of one file."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from threading import Lock

from openo3.configuration import ConfigurationError

GB = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """`bandwidth_mb_s` is for all connections together; `disk_gb` is the final size of `data/raw`.

    A connection that is silent for `stall_s`, or brings less than `least_kb_s` over that time, is taken to be
    broken. After `tries` failures in a row, with waits that double from `wait_s`, a file is given up for this
    run. A file larger than `file_gb`, or one that unpacks to more than `inflation` times its packed bytes, is
    refused.
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
    """Slows its callers down to so many bytes a second together."""

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._due, self._lock = 0.0, Lock()

    def took(self, count: int) -> None:
        """Say that `count` bytes have come; returns when they were due."""
        if self._bytes_per_s is None:
            return
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now) + count / self._bytes_per_s
            wait = self._due - now
        time.sleep(wait)
