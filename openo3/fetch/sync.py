"""Bring a folder to what a plan says: copy what is new or changed, remove what is stale, manifest last.

Files are cloned where the file system can, else copied, and never linked: DVC makes the files of its cache
read-only and takes them to be unchangeable, and with a hard link such a file would be the user's own. Files
already there may in turn be links into DVC's cache, so they are replaced by renaming and never written to.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from openo3.artifacts import read_jsonl, write_jsonl
from openo3.fetch.manifest import MANIFEST, MISSING, read_manifest
from openo3.fetch.plan import FetchError, Item, Plan

_PIECE = 1 << 20
_FICLONE = 0x40049409  # Linux: share the blocks of another file until one of the two changes


@dataclass(frozen=True)
class Summary:
    """Counts of files, and the bytes that were copied."""

    files: int
    copied: int
    removed: int
    missing: int
    copied_bytes: int


def sync(plan: Plan, folder: Path, known: Path, threads: int = 8) -> Summary:
    """Make `folder` hold the plan's files and nothing else.

    `known` is a file outside of the folder that remembers the digests of origins by size and time, so that
    unchanged ones are not read again; without it everything is read once more. Killed at any moment and
    started again, the folder ends the same.

    Raises `FetchError` if the disk is too small, or an origin cannot be read or changes meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(folder, read_manifest(folder), _Digests(known))
    removed = run.remove_all_but({item.target for item in plan.items})
    _check_space(plan, folder)
    total = sum(_size(item.origin) for item in plan.items)
    with (
        tqdm(total=total, unit="B", unit_scale=True, desc=folder.name, disable=None) as bar,
        ThreadPoolExecutor(threads) as pool,
    ):
        entries = list(pool.map(partial(run.settle, progress=bar.update), plan.items))
    run.digests.save()
    write_jsonl(folder / MISSING, map(asdict, sorted(plan.missing, key=lambda missing: missing.path)))
    write_jsonl(folder / MANIFEST, sorted(entries, key=lambda entry: entry["path"]))
    return Summary(len(entries), len(run.copied), removed, len(plan.missing), sum(run.copied))


def _check_space(plan: Plan, folder: Path) -> None:
    new = sum(_size(item.origin) for item in plan.items if not (folder / item.target).exists())
    free = shutil.disk_usage(folder).free
    if new > free:
        raise FetchError(f"{folder}: {new / 1e9:.1f} GB to come, {free / 1e9:.1f} GB free; make room")


class _Run:
    """One run over one folder; `complete` is its manifest from before, empty if the last run was killed."""

    def __init__(self, folder: Path, complete: dict[str, dict[str, Any]], digests: _Digests) -> None:
        self.folder, self.complete, self.digests = folder, complete, digests
        self.copied: list[int] = []  # bytes of each copied file

    def remove_all_but(self, targets: set[str]) -> int:
        """Remove what no target names, what a killed run left included; return how many files."""
        stale = [path for path in _files(self.folder) if path not in targets | {MANIFEST, MISSING}]
        for path in stale:
            self._is_changing()
            (self.folder / path).unlink()
        for parent, _, _ in os.walk(self.folder, topdown=False):
            if parent != str(self.folder) and not os.listdir(parent):
                os.rmdir(parent)
        return len(stale)

    def settle(self, item: Item, progress: Any) -> dict[str, Any]:
        """Copy the file unless it is there already; return its line of the manifest."""
        try:
            if self._is_current(item):
                digest = self.digests.of(item.origin)
                progress(_size(item.origin))
            else:
                digest = self._copy(item, progress)
        except OSError as error:
            raise FetchError(f"{item.origin}: {error.strerror}") from error
        return {"path": item.target, "size": _size(item.origin), "sha256": digest, "source": item.source}

    def _is_current(self, item: Item) -> bool:
        try:
            there, origin = os.stat(self.folder / item.target), os.stat(item.origin)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if there.st_size != origin.st_size:
            return False
        if entry := self.complete.get(item.target):
            return entry["sha256"] == self.digests.of(item.origin)
        return there.st_mtime_ns == origin.st_mtime_ns  # from a killed run: copies keep their origin's time

    def _copy(self, item: Item, progress: Any) -> str:
        target = self.folder / item.target
        target.parent.mkdir(parents=True, exist_ok=True)
        short = hashlib.sha1(target.name.encode()).hexdigest()[:16]  # a name may be as long as names can be
        part = target.with_name(f".{short}.part")
        self._is_changing()
        with open(item.origin, "rb") as origin, open(part, "wb") as copy:
            before = os.fstat(origin.fileno())
            digest = _transfer(origin, copy, progress)
            after = os.fstat(origin.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise FetchError(f"{item.origin}: changed while it was copied; run again")
        os.utime(part, ns=(before.st_mtime_ns, before.st_mtime_ns))
        os.replace(part, target)
        self.digests.learn(item.origin, before, digest)
        self.copied.append(before.st_size)
        return digest

    def _is_changing(self) -> None:
        """From now on the folder is incomplete until the manifest is written again."""
        (self.folder / MANIFEST).unlink(missing_ok=True)


class _Digests:
    """sha256 of origins by path, size and time of change, remembered from run to run."""

    def __init__(self, file: Path) -> None:
        self.file = file
        lines = read_jsonl(file) if file.exists() else ()
        self._known = {(line["path"], line["size"], line["mtime_ns"]): line["sha256"] for line in lines}
        self._used: dict[tuple[str, int, int], str] = {}

    def of(self, path: Path) -> str:
        status = os.stat(path)
        digest = self._used.get(key := self._key(path, status)) or self._known.get(key)
        if digest is None:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.learn(path, status, digest)
        return digest

    def learn(self, path: Path, status: os.stat_result, digest: str) -> None:
        self._used[self._key(path, status)] = digest

    def save(self) -> None:
        """Remember those that this run used."""
        rows = (
            {"path": path, "size": size, "mtime_ns": mtime_ns, "sha256": digest}
            for (path, size, mtime_ns), digest in self._used.items()
        )
        write_jsonl(self.file, rows)

    @staticmethod
    def _key(path: Path, status: os.stat_result) -> tuple[str, int, int]:
        return os.path.abspath(path), status.st_size, status.st_mtime_ns


def _transfer(origin: BinaryIO, copy: BinaryIO, progress: Any) -> str:
    """Clone or copy an open file into another; return its sha256."""
    try:
        fcntl.ioctl(copy.fileno(), _FICLONE, origin.fileno())
        cloned = True
    except OSError:  # another file system, or one that cannot
        cloned = False
    digest = hashlib.sha256()
    while piece := origin.read(_PIECE):
        digest.update(piece)
        if not cloned:
            copy.write(piece)
        progress(len(piece))
    return digest.hexdigest()


def _files(folder: Path) -> Iterable[str]:
    """Every file and link below a folder, relative to it."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        yield from (os.path.relpath(os.path.join(parent, name), folder) for name in files + links)


def _size(path: Path) -> int:
    return os.stat(path).st_size
