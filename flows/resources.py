"""Assign the machine's cores and GPUs to stages, so that no two stages share them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

RETRY_S = 0.5


@dataclass(frozen=True)
class Gpu:
    """`index` is nvidia-smi's. `uuid` is the same for all users and any CUDA_VISIBLE_DEVICES."""

    index: str
    uuid: str


class Cores:
    """A pool of cores. A stage that asks for more cores than there are gets all of them."""

    def __init__(self, total: int | None = None) -> None:
        self.total = total or len(os.sched_getaffinity(0))
        self._free = self.total
        self._changed = threading.Condition()

    @contextmanager
    def take(self, count: int, stop: threading.Event) -> Iterator[None]:
        """Wait until `count` cores are free or `stop` is set, and take them."""
        count = min(count, self.total)
        with self._changed:
            while (
                not self._changed.wait_for(lambda: self._free >= count, timeout=RETRY_S) and not stop.is_set()
            ):
                pass
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()


def gpus() -> list[Gpu]:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES makes visible."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    listing = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    if listing.returncode:
        return []
    found = [Gpu(*line.split(", ")) for line in listing.stdout.splitlines()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    named = [name.strip() for name in visible.split(",")]
    return [gpu for gpu in found if gpu.index in named or gpu.uuid in named]


@contextmanager
def take_gpus(
    count: int | Literal["all"], of: Sequence[Gpu], stop: threading.Event
) -> Iterator[tuple[list[Gpu], list[int]]]:
    """Wait for `count` GPUs; yield them and the file descriptors that reserve them.

    A GPU is reserved by binding an abstract socket name, which the kernel allows once per machine. The
    reservation therefore holds across flows, checkouts and users, and ends with the last process that has the
    descriptor. On a machine without GPUs, or after `stop`, the list is empty.
    """
    wanted = len(of) if count == "all" else min(count, len(of))
    held: dict[Gpu, socket.socket] = {}
    try:
        while not _hold(of, wanted, held):
            if stop.wait(RETRY_S):
                break
        yield list(held), [taken.fileno() for taken in held.values()]
    finally:
        _release(held)


def _hold(of: Sequence[Gpu], wanted: int, held: dict[Gpu, socket.socket]) -> bool:
    """Reserve all GPUs at once or none, so that two stages that wait for several never deadlock."""
    for gpu in of:
        if len(held) == wanted:
            break
        taken = socket.socket(socket.AF_UNIX)
        try:
            taken.bind(f"\0openo3-gpu-{gpu.uuid}")
            held[gpu] = taken
        except OSError:
            taken.close()
    if len(held) < wanted:
        _release(held)
    return len(held) == wanted


def _release(held: dict[Gpu, socket.socket]) -> None:
    for taken in held.values():
        taken.close()
    held.clear()


def visible(taken: Sequence[Gpu], all_gpus: Sequence[Gpu]) -> dict[str, str]:
    """The environment variables that show a stage its GPUs, and no others."""
    if not all_gpus:
        return {}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpu.index for gpu in taken)}
