"""Let one flow at a time run in a checkout, and release the DVC locks of dead processes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from dvc.lock import make_lock
from dvc.repo import Repo

from openo3.files.locks import file_lock

LOCK = Path(".dvc/tmp/flow.lock")


class CheckoutBusy(Exception):
    """Another flow is running in this checkout."""


@contextmanager
def checkout_lock(root: Path, holder: str) -> Iterator[None]:
    """Lock the checkout for a flow run. The kernel releases the lock when the process ends.

    Raises `CheckoutBusy` at once if it is locked. Waiting would only repeat the first run.
    """
    path = root / LOCK

    def busy() -> CheckoutBusy:
        return CheckoutBusy(f"another run is using this checkout: {path.read_text() or 'just started'}")

    with file_lock(path, busy):
        if os.access(path, os.W_OK):
            path.write_text(f"{holder}, process {os.getpid()}")
        yield


def forget_dead_processes(repo: Repo) -> list[str]:
    """Release DVC's per-path locks of dead processes; return one message per lock.

    DVC does so itself, unless the dead process is a zombie, its process ID was reused, or the file was
    truncated because the disk was full.
    """
    path = Path(str(repo.tmp_dir)) / "rwlock"
    hardlink = repo.config["core"].get("hardlink_lock", False)
    guard = make_lock(f"{path}.lock", tmp_dir=repo.tmp_dir, hardlink_lock=hardlink, wait=True)
    with repo.lock, guard:
        try:
            written_at = path.stat().st_mtime
            held = json.loads(path.read_bytes())
        except FileNotFoundError:
            return []
        except ValueError:
            path.unlink()
            return [f"{path.name} was truncated and has been removed"]
        readers = {
            name: [info for info in infos if _lives(info["pid"], written_at)]
            for name, infos in held.get("read", {}).items()
        }
        writers = {n: info for n, info in held.get("write", {}).items() if _lives(info["pid"], written_at)}
        kept = {"read": {name: infos for name, infos in readers.items() if infos}, "write": writers}
        if kept == {"read": held.get("read", {}), "write": held.get("write", {})}:
            return []
        path.write_text(json.dumps(kept))
        gone = (held.get("write", {}).keys() - writers) | (held.get("read", {}).keys() - kept["read"])
        names = sorted(os.path.relpath(name, repo.root_dir) for name in gone)
        return [f"{name} was locked by a process that has ended" for name in names]


def _lives(pid: int, written_at: float) -> bool:
    """Whether the process that took the lock is alive, rather than a later one with the same ID.

    A zombie is not alive: containers often have no process that reaps them.
    """
    try:
        process = psutil.Process(pid)
        return process.create_time() <= written_at and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
