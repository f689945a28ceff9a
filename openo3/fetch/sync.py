"""Make a folder match a plan: fetch new and changed files, remove stale ones, write the manifest last.

Local files are cloned if the file system supports it, otherwise copied, and never linked. DVC makes the files
of its cache read-only and assumes that they never change; a hard link would apply both to the user's own
file. Files in the folder may be links into DVC's cache, so they are replaced by renaming and never written
to.

Partial files are in `.partial/`, named after their origin's identity, so a later run resumes them only if the
origin is the same. A file gets its own name when its digests match. While the folder changes, `.partial/`
also holds the old manifest and the names of the files placed since. After a kill, the next run therefore
knows which files this stage wrote. Only those are ever removed; a folder that holds other files is refused.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock
from typing import Any

import orjson
from tqdm import tqdm

from openo3.fetch import batches, checks
from openo3.fetch.digests import Digests
from openo3.fetch.http import Interrupted
from openo3.fetch.limits import GB, Limits
from openo3.fetch.manifest import MANIFEST, MISSING, read_manifest
from openo3.fetch.origin import ByteStream
from openo3.fetch.plan import FetchError, Item, Missing, Plan, Unavailable, Unfinished
from openo3.fetch.random_access import PIECE, LocalFile
from openo3.files.artifacts import write_jsonl
from openo3.files.locks import file_lock
from openo3.files.safe_path import UnsafePath, relative

PARTIAL, PLACED = ".partial", "placed.jsonl"
_FICLONE = 0x40049409  # Linux: share the blocks of another file until one of the two changes
_MAX_FAILURES = 20  # after so many failed files, the network is probably down
_PART_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Summary:
    """Numbers of files, and the number of bytes fetched."""

    files: int
    copied: int
    removed: int
    missing: int
    copied_bytes: int


def sync(plan: Plan, folder: Path, known: Path, limits: Limits | None = None) -> Summary:
    """Make `folder` hold exactly the plan's files.

    `known` is a file outside the folder with the digests of fetched and local files, so that unchanged files
    are not read again. A run that follows a kill ends with the same folder.

    Raises `FetchError` if

    - another run is using the folder, or it holds files or links that no run wrote;
    - the files would exceed the limits;
    - a place is unreachable and files from it are in the folder;
    - a local origin cannot be read, or changes while it is copied;
    - some files could not be fetched this time. Those that were fetched are kept.
    """
    limits = limits or Limits()
    plan = _without_clashes(plan)
    _check_limit(plan, limits)
    folder.mkdir(parents=True, exist_ok=True)
    busy = FetchError(f"{folder}: another download is using this folder; run again when it has finished")
    with file_lock(known.parent / f"{folder.name}.lock", lambda: busy):
        return _sync(plan, folder, known, limits)


def _sync(plan: Plan, folder: Path, known: Path, limits: Limits) -> Summary:
    run = _Run(folder, limits, Digests(known))
    run.check_places(plan)
    removed = run.remove_all_but({item.target for item in plan.items})
    with ThreadPoolExecutor(limits.threads) as pool:
        current = list(pool.map(run.is_current, plan.items))
    entries = [entry for entry in current if entry]
    run.fetch([item for item, entry in zip(plan.items, current, strict=True) if not entry])
    run.digests.save()
    entries += run.entries
    missing = plan.missing + run.refused
    write_jsonl(folder / MISSING, (each.to_json() for each in sorted(missing, key=lambda each: each.path)))
    write_jsonl(folder / MANIFEST, sorted(entries, key=lambda entry: entry["path"]))
    run.remove_partial()
    return Summary(len(entries), len(run.entries), removed, len(missing), run.bytes)


def to_fetch(plan: Plan, folder: Path, known: Path) -> list[Item]:
    """The items that `sync` would fetch. Nothing is fetched or removed."""
    run = _Run(folder, Limits(), Digests(known, writable=False))
    return [item for item in plan.items if not run.is_current(item)]


def _without_clashes(plan: Plan) -> Plan:
    """The plan without media whose path contains another file as a folder (`a.mp4/b.mp4` beside `a.mp4`).

    Raises `FetchError` for an unsafe target, and for two different files with the same target.
    """
    items: dict[str, Item] = {}
    for item in plan.items:
        try:
            safe = relative(item.target) == item.target and not item.target.startswith(PARTIAL)
        except UnsafePath:
            safe = False
        if not safe:
            raise FetchError(f"{item.target}: not a path inside the folder; rename the annotation")
        other = items.setdefault(item.target, item)
        if other is not item and other.origin.identity != item.origin.identity:
            names = f"{other.origin.name} and {item.origin.name}"
            raise FetchError(f"{item.target}: {names} would both be written there; rename one")
    result = Plan(missing=list(plan.missing), unreachable=plan.unreachable)
    for target, item in items.items():
        folder = next((str(each) for each in Path(target).parents if str(each) in items), None)
        if folder is None:
            result.items.append(item)
        elif target.startswith("media/"):
            path, detail = target.removeprefix("media/"), f"{folder} is a file and cannot be a folder too"
            result.missing.append(Missing(path, item.source, "unsafe", detail))
        else:
            raise FetchError(f"{target}: {folder} is a file and cannot be a folder too; rename one")
    return result


def _check_limit(plan: Plan, limits: Limits) -> None:
    total = sum(item.origin.size or 0 for item in plan.items)
    if limits.disk_gb is not None and total > limits.disk_gb * GB:
        raise FetchError(f"{total / GB:.1f} GB are planned, but the limit is {limits.disk_gb:g} GB (disk_gb)")


class _Run:
    """One run over one folder. It receives the files of its batches."""

    def __init__(self, folder: Path, limits: Limits, digests: Digests) -> None:
        self.folder, self.limits, self.digests = folder, limits, digests
        self._partial = folder / PARTIAL
        self._check_partial()
        self.complete = _manifest(folder)  # empty after a kill; the old manifest is then in `.partial`
        self.before = {} if self.complete else _manifest(self._partial)
        self.entries: list[dict[str, Any]] = []
        self.refused: list[Missing] = []
        self.bytes = 0
        self._unfinished: list[Unfinished] = []
        self._done: set[str] = set()
        self._stop, self._lock = Event(), Lock()
        self._progress: Callable[[int], Any] = lambda count: None
        self._room = 0.0

    def _check_partial(self) -> None:
        """Refuse a `.partial` that no run created."""
        if self._partial.is_symlink() or (self._partial.exists() and not self._partial.is_dir()):
            raise FetchError(f"{self._partial}: is a link or a file, not a folder; remove it")
        for path in self._partial.iterdir() if self._partial.exists() else ():
            known = path.name in (MANIFEST, PLACED) or _PART_NAME.fullmatch(path.name)
            if not known or path.is_symlink() or not path.is_file():
                raise FetchError(f"{path}: was not written by download; move it away")

    def check_places(self, plan: Plan) -> None:
        """Refuse to drop existing files only because their place cannot be opened at the moment."""
        here = [path for path in plan.unreachable if (self.folder / "media" / path).is_file()]
        if here:
            raise FetchError(
                f"{plan.unreachable[here[0]]}; {len(here):,} files of this folder came from there. Run again "
                "when it is reachable, or name the source in `leave_out` to drop them"
            )

    def remove_all_but(self, targets: set[str]) -> int:
        """Remove files of earlier runs that are no longer targets, and return their number.

        Raises `FetchError` before anything changes if the folder holds files or folder links that no run
        wrote.
        """
        kept = targets | {MANIFEST, MISSING}
        stale = [path for path in _files(self.folder) if path not in kept]
        ours = {*self.complete, *self.before, *_placed(self._partial / PLACED)}
        ours |= {f".{name}.part" for name in (MANIFEST, MISSING)}  # left by a run killed while writing them
        # a link to a folder is never ours: the files below it are outside
        foreign = [path for path in stale if path not in ours] + list(_linked_folders(self.folder))
        if foreign:
            raise FetchError(
                f"{self.folder / sorted(set(foreign))[0]}: was not written by download "
                f"({len(set(foreign)):,} such files or links); move it out of {self.folder}"
            )
        for path in stale:
            self._is_changing()
            (self.folder / path).unlink()
        for parent, _, _ in os.walk(self.folder, topdown=False):
            if parent != str(self.folder) and not os.listdir(parent):
                os.rmdir(parent)
        return len(stale)

    def is_current(self, item: Item) -> dict[str, Any] | None:
        """The file's manifest line if it is already up to date, otherwise `None`."""
        try:
            there = os.stat(self.folder / item.target)
            if item.origin.size is not None and there.st_size != item.origin.size:
                return None
            if self.digests.is_known_time(item.origin, there.st_mtime_ns):
                digest = self.digests.of(item.origin)  # fetched from this origin and unchanged since
            elif entry := self._line_of(item.target):
                digest = self._digest_of(item, entry)
                if digest is not None and digest == entry["sha256"]:
                    self.digests.record(item.origin, there.st_mtime_ns, digest)
                else:
                    digest = None
            else:
                return None
            return self._entry(item, digest) if digest else None
        except (FileNotFoundError, NotADirectoryError):
            return None  # if the origin is missing, fetching it reports that
        except OSError as error:
            raise FetchError(f"{item.origin.name}: {error.strerror}") from error

    def _line_of(self, target: str) -> dict[str, Any] | None:
        """The file's line in a manifest, if the file still has that content."""
        entry = self.complete.get(target) or self.before.get(target)
        return entry if entry and entry["sha256"] == checks.sha256(self.folder / target) else None

    def _digest_of(self, item: Item, entry: dict[str, Any]) -> str | None:
        """The expected digest of the file, if it can be determined without fetching it."""
        if digest := item.origin.sha256 or self.digests.of(item.origin):
            return digest
        if item.origin.crc32 is not None:  # equal size and CRC: the same member of a newer archive
            same = checks.crc32(self.folder / item.target) == item.origin.crc32
        else:
            same = item.origin.address is not None and entry.get("origin") == item.origin.address
        return entry["sha256"] if same else None

    def fetch(self, items: list[Item]) -> None:
        """Fetch all items. Raises `FetchError` at the end if some of them failed."""
        if not items:
            return
        self._partial.mkdir(exist_ok=True)
        first: dict[str, Item] = {}
        duplicates = [item for item in items if first.setdefault(item.origin.identity, item) is not item]
        self._clear_partial({self._part(item).name for item in first.values() if item.origin.resumable})
        self._check_room(items)
        begun = {item for item in first.values() if item.origin.resumable and self._part(item).exists()}
        total = sum(item.origin.size or 0 for item in first.values())
        work = batches.group(first.values(), begun)
        with tqdm(total=total, unit="B", unit_scale=True, desc=self.folder.name, disable=None) as bar:
            self._progress = lambda count: _advance(bar, count)
            self._run(work)
        for item in duplicates:
            if (self.folder / first[item.origin.identity].target).exists():
                self._repeat(item, first[item.origin.identity])
            else:  # this one may succeed although the first failed
                self._stop.clear()
                self._run(list(batches.group([item], set())))

    def _run(self, work: list[batches.Batch]) -> None:
        with ThreadPoolExecutor(self.limits.threads) as pool:
            try:
                for _ in pool.map(self._run_batch, work):
                    pass
            finally:  # after an error or Ctrl-C, the other threads end at their next piece
                self._stop.set()
        if self._unfinished:
            left = sum(len(list(self._undone(batch))) for batch in work)
            raise FetchError(
                f"{left:,} files could not be fetched ({self._unfinished[0]}); run again to fetch the rest"
            )

    def _run_batch(self, batch: batches.Batch) -> None:
        if self._stop.is_set():
            return
        try:
            self._run_with_restarts(batch)
        except (Unavailable, *batches.DAMAGED) as why:
            if not isinstance(why, Unavailable):
                why = Unavailable("unreadable", f"{batch.items[0].origin.name}: damaged ({_one_line(why)})")
            for item in self._undone(batch):
                self.refuse(item, why)
        except Unfinished as why:
            with self._lock:
                self._unfinished.append(why)
            if len(self._unfinished) >= _MAX_FAILURES:
                self._stop.set()
        except FetchError:
            self._stop.set()
            raise
        except OSError as error:
            raise FetchError(f"{batch.items[0].origin.name}: {error.strerror}") from error

    def _run_with_restarts(self, batch: batches.Batch) -> None:
        """Run a batch. Files that cannot resume start from the beginning, up to `tries` times in all."""
        for attempt in range(self.limits.tries):
            try:
                return batch.run(self, self.limits)
            except Interrupted:
                if attempt + 1 == self.limits.tries or self._stop.wait(self.limits.wait_s * 2**attempt):
                    raise
                batch = replace(batch, items=list(self._undone(batch))) if len(batch.items) > 1 else batch

    def _undone(self, batch: batches.Batch) -> Iterator[Item]:
        return (item for item in batch.items if item.target not in self._done)

    def refuse(self, item: Item, why: Unavailable) -> None:
        if not item.target.startswith("media/"):
            raise FetchError(f"{item.target}: {why}")
        self._is_changing()
        for path in (self._part(item), self.folder / item.target):  # an older target is not the planned file
            path.unlink(missing_ok=True)
        with self._lock:
            self._done.add(item.target)
            path = item.target.removeprefix("media/")
            self.refused.append(Missing(path, item.source, why.problem, why.detail))

    def take(self, item: Item, open_at: Callable[[int], ByteStream]) -> None:
        """Write the file under its partial name, check it, and move it to its target."""
        part = self._part(item)
        self._is_changing()
        try:
            with self._readable(item):
                digest = self._write(item, part, open_at)
        except Unavailable as why:
            self.refuse(item, why)
            return
        if isinstance(item.origin, LocalFile):
            time = item.origin.status.st_mtime_ns
            os.utime(part, ns=(time, time))
        self._place(item, part, digest)

    def _place(self, item: Item, part: Path, digest: str) -> None:
        target = self.folder / item.target
        target.parent.mkdir(parents=True, exist_ok=True)
        status = os.stat(part)
        self.digests.record(item.origin, status.st_mtime_ns, digest)
        with self._lock, open(self._partial / PLACED, "ab") as placed:
            placed.write(orjson.dumps(item.target, option=orjson.OPT_APPEND_NEWLINE))
        os.replace(part, target)
        with self._lock:
            self._done.add(item.target)
            self.bytes += status.st_size
            self.entries.append(self._entry(item, digest, status.st_size))

    def _write(self, item: Item, part: Path, open_at: Callable[[int], ByteStream]) -> str:
        """Write and check the file; return its sha256."""
        have = part.stat().st_size if item.origin.resumable and part.exists() else 0
        if have and item.origin.size is not None and have > item.origin.size:
            have = 0
        try:
            return self._transfer(item, part, have, open_at)
        except Unavailable:
            if not have:
                raise
            self._progress(-have)
            return self._transfer(item, part, 0, open_at)  # the kept part may have been damaged

    def _transfer(self, item: Item, part: Path, have: int, open_at: Callable[[int], ByteStream]) -> str:
        content_checks = checks.ContentChecks(item, self.limits)
        with open(part, "r+b" if have else "wb") as out:
            if have:
                while out.tell() < have and (piece := out.read(min(PIECE, have - out.tell()))):
                    content_checks.add(piece)
                self._progress(have)
            with open_at(have) as content:
                cloned = (
                    isinstance(item.origin, LocalFile)
                    and isinstance(content, io.FileIO)
                    and _clone(content.fileno(), out.fileno())
                )
                while piece := content.read(PIECE):
                    if self._stop.is_set():
                        raise Unfinished("stopped")
                    content_checks.add(piece)
                    if not cloned:
                        self._take_room(item, len(piece))
                        out.write(piece)
                    self._progress(len(piece))
        return content_checks.finish()

    @contextmanager
    def _readable(self, item: Item) -> Iterator[None]:
        """Translate errors of archives, local files and the disk into `Unavailable` and `FetchError`."""
        try:
            yield
            if isinstance(item.origin, LocalFile):
                before, after = item.origin.status, os.stat(item.origin.path)
                if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                    raise FetchError(f"{item.origin.name}: changed while it was copied; run again")
        except (zipfile.BadZipFile, *batches.DAMAGED) as error:
            raise Unavailable("unreadable", f"{item.origin.name}: damaged ({_one_line(error)})") from None
        except OSError as error:
            if error.errno is None:  # bz2 reports damaged data this way
                raise Unavailable("unreadable", f"{item.origin.name}: damaged ({error})") from None
            where = self.folder if error.errno in (errno.ENOSPC, errno.EDQUOT) else item.origin.name
            raise FetchError(f"{where}: {error.strerror}") from error

    def _repeat(self, item: Item, first: Item) -> None:
        """Place the same content under a second name: a copy of the fetched file."""
        part, origin = self._part(item), self.folder / first.target
        with self._readable(item), open(origin, "rb") as content, open(part, "wb") as out:
            self._take_room(item, origin.stat().st_size)
            if not _clone(content.fileno(), out.fileno()):
                shutil.copyfileobj(content, out, PIECE)
        digest = self.digests.of(item.origin)
        if digest is None:
            raise FetchError(f"{item.target}: digest of {first.target} is unknown; run again")
        self._place(item, part, digest)

    def _check_room(self, items: list[Item]) -> None:
        begun = sum(path.stat().st_size for path in self._partial.iterdir())
        new = sum(item.origin.size or 0 for item in items) - begun
        free = shutil.disk_usage(self.folder).free
        if new > free:
            raise FetchError(f"{self.folder}: {new / GB:.1f} GB are needed, {free / GB:.1f} GB are free")
        limit = self.limits.disk_gb
        held = sum(os.stat(self.folder / path).st_size for path in _files(self.folder)) if limit else 0
        self._room = float("inf") if limit is None else limit * GB - held - begun

    def _take_room(self, item: Item, count: int) -> None:
        """Check the disk limit during the transfer, since some sizes are unknown before."""
        with self._lock:
            self._room -= count
        if self._room < 0:
            raise FetchError(f"{item.origin.name}: exceeds the limit of {self.limits.disk_gb:g} GB (disk_gb)")

    def _entry(self, item: Item, digest: str, size: int | None = None) -> dict[str, Any]:
        size = os.stat(self.folder / item.target).st_size if size is None else size
        entry = {"path": item.target, "size": size, "sha256": digest, "source": item.source}
        return entry if item.origin.address is None else entry | {"origin": item.origin.address}

    def _part(self, item: Item) -> Path:
        return self._partial / hashlib.sha256(item.origin.identity.encode()).hexdigest()[:32]

    def _clear_partial(self, wanted: set[str]) -> None:
        for path in self._partial.iterdir():
            if path.name not in wanted | {MANIFEST, PLACED}:
                path.unlink()

    def remove_partial(self) -> None:
        if self._partial.exists():
            self._clear_partial(set())
            for name in (MANIFEST, PLACED):
                (self._partial / name).unlink(missing_ok=True)
            self._partial.rmdir()

    def _is_changing(self) -> None:
        """Mark the folder as incomplete until the manifest is written again."""
        with self._lock:
            if (self.folder / MANIFEST).exists():
                self._partial.mkdir(exist_ok=True)
                os.replace(self.folder / MANIFEST, self._partial / MANIFEST)


def _manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest, empty if it is damaged. Files are then recognised by their digests or fetched again."""
    try:
        return read_manifest(folder)
    except (ValueError, KeyError, TypeError):
        return {}


def _one_line(error: BaseException) -> str:
    return str(error).split("\n")[0][:200] or type(error).__name__


def _placed(journal: Path) -> Iterator[str]:
    """The targets that a killed run placed. An incomplete last line is of a file that was not placed."""
    for line in journal.read_bytes().splitlines() if journal.exists() else ():
        with suppress(ValueError):
            if isinstance(target := orjson.loads(line), str):
                yield target


def _clone(source: int, target: int) -> bool:
    """Let the file descriptor `target` share the blocks of `source`; return whether that worked."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:  # different file systems, or no support
        return False
    return True


def _advance(bar: tqdm, count: int) -> None:
    if bar.total is not None and bar.n + count > bar.total:  # a size was unknown
        bar.total = bar.n + count
    bar.update(count)


def _files(folder: Path) -> Iterator[str]:
    """Every file below a folder, relative to it, except partial ones."""
    for parent, folders, files in os.walk(folder):
        if parent == str(folder) and PARTIAL in folders:
            folders.remove(PARTIAL)
        yield from (os.path.relpath(os.path.join(parent, name), folder) for name in files)


def _linked_folders(folder: Path) -> Iterator[str]:
    """Links to folders below a folder, relative to it."""
    for parent, folders, _ in os.walk(folder):
        paths = (os.path.join(parent, name) for name in folders)
        yield from (os.path.relpath(path, folder) for path in paths if os.path.islink(path))
