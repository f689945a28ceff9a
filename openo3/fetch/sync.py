"""Bring a folder to what a plan says: fetch what is new or changed, remove what is stale, manifest last.

Local files are cloned where the file system supports it, otherwise copied, and never linked: DVC makes the
files of its cache read-only and assumes that they never change, and a hard link would do that to the user's
own file. Files already in the folder may be links into DVC's cache: they are replaced by renaming, and never
written to.

Partial files lie in `.partial/`, named after their origin's identity, so a later run resumes one only if its
origin is still the same. A file is moved to its own name once its digests match. While the folder changes,
`.partial/` also holds the old manifest and the names of the files placed since: after a kill, the next run
still knows which files this stage wrote. Only those are ever removed; a folder that holds others is refused.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Lock
from typing import Any, BinaryIO

import orjson
from tqdm import tqdm

from openo3.fetch import batches, checks
from openo3.fetch.digests import Digests
from openo3.fetch.http import Interrupted
from openo3.fetch.limits import GB, Limits
from openo3.fetch.manifest import MANIFEST, MISSING, read_manifest
from openo3.fetch.plan import FetchError, Item, Missing, Plan, Unavailable, Unfinished
from openo3.fetch.random_access import PIECE, LocalFile
from openo3.files.artifacts import write_jsonl
from openo3.files.locks import file_lock
from openo3.files.safe_path import UnsafePath, relative

PARTIAL, PLACED = ".partial", "placed.jsonl"
_FICLONE = 0x40049409  # Linux: share the blocks of another file until one of the two changes
_GIVE_UP = 20  # after so many failed files the network is down, not a file
_PART_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Summary:
    """Counts of files, and the bytes that were fetched."""

    files: int
    copied: int
    removed: int
    missing: int
    copied_bytes: int


def sync(plan: Plan, folder: Path, known: Path, limits: Limits | None = None) -> Summary:
    """Make `folder` hold the plan's files and nothing else.

    `known` is a file outside of the folder that remembers what was fetched and the digests of local origins,
    so that unchanged ones are not read again. Killed at any moment and run again, the folder ends the same.

    Raises `FetchError` if another run is using the folder, the folder holds files or links that no run put
    there, the files would be too large, the place of files that are here is unavailable, an origin on this
    machine cannot be read or changes meanwhile, or some files could not be fetched this time; what was
    fetched is kept.
    """
    limits = limits or Limits()
    plan = _without_clashes(plan)
    _check_limit(plan, limits)
    folder.mkdir(parents=True, exist_ok=True)
    busy = FetchError(f"{folder}: another download is at work here; run again when it is done")
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
    write_jsonl(folder / MISSING, map(asdict, sorted(missing, key=lambda each: each.path)))
    write_jsonl(folder / MANIFEST, sorted(entries, key=lambda entry: entry["path"]))
    run.remove_partial()
    return Summary(len(entries), len(run.entries), removed, len(missing), run.bytes)


def to_fetch(plan: Plan, folder: Path, known: Path) -> list[Item]:
    """What `sync` would fetch; nothing is fetched or removed."""
    run = _Run(folder, Limits(), Digests(known, learns=False))
    return [item for item in plan.items if not run.is_current(item)]


def _without_clashes(plan: Plan) -> Plan:
    """The plan without media whose path runs through another file: `a.mp4/b.mp4` beside `a.mp4`.

    Raises `FetchError` for an unsafe target, and for two different files with one target.
    """
    items: dict[str, Item] = {}
    for item in plan.items:
        try:
            safe = relative(item.target) == item.target and not item.target.startswith(PARTIAL)
        except UnsafePath:
            safe = False
        if not safe:
            raise FetchError(f"{item.target}: is no path inside the folder; rename the annotation")
        other = items.setdefault(item.target, item)
        if other is not item and other.origin.identity != item.origin.identity:
            names = f"{other.origin.name} and {item.origin.name}"
            raise FetchError(f"{item.target}: {names} would both be written there; rename one")
    result = Plan(missing=list(plan.missing), away=plan.away)
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
        raise FetchError(f"{total / GB:.1f} GB are wanted, the limit is {limits.disk_gb:g} GB (disk_gb)")


class _Run:
    """One run over one folder, and the receiver of its batches."""

    def __init__(self, folder: Path, limits: Limits, digests: Digests) -> None:
        self.folder, self.limits, self.digests = folder, limits, digests
        self._partial = folder / PARTIAL
        self._check_partial()
        self.complete = _manifest(folder)  # empty if the last run was killed: then there is another
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
        """Nothing is written to or removed from a `.partial` that no run made."""
        if self._partial.is_symlink() or (self._partial.exists() and not self._partial.is_dir()):
            raise FetchError(f"{self._partial}: is a link or a file, not a folder; remove it")
        for path in self._partial.iterdir() if self._partial.exists() else ():
            known = path.name in (MANIFEST, PLACED) or _PART_NAME.fullmatch(path.name)
            if not known or path.is_symlink() or not path.is_file():
                raise FetchError(f"{path}: was not written by download; move it away")

    def check_places(self, plan: Plan) -> None:
        """Nothing that is here is dropped because its place cannot be opened for the moment."""
        here = [path for path in plan.away if (self.folder / "media" / path).is_file()]
        if here:
            raise FetchError(
                f"{plan.away[here[0]]}; {len(here):,} files that are here came from there. Run again when it "
                "is back, or name the source in `leave_out` to drop them"
            )

    def remove_all_but(self, targets: set[str]) -> int:
        """Remove the files of earlier runs that no target names; return how many.

        Raises `FetchError`, before anything changes, for files and links to folders that no run put there.
        """
        kept = targets | {MANIFEST, MISSING}
        stale = [path for path in _files(self.folder) if path not in kept]
        ours = {*self.complete, *self.before, *_placed(self._partial / PLACED)}
        ours |= {f".{name}.part" for name in (MANIFEST, MISSING)}  # of a run killed while it wrote them
        # a link to a folder is never ours, whoever names it: files below it lie outside
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
        """The file's line of the manifest if it is there already."""
        try:
            there = os.stat(self.folder / item.target)
            if item.origin.size is not None and there.st_size != item.origin.size:
                return None
            if self.digests.is_time_of(item.origin, there.st_mtime_ns):
                digest = self.digests.of(item.origin)  # it came from there and was not touched
            elif entry := self._line_of(item.target):
                digest = self._digest_of(item, entry)
                if digest == entry["sha256"]:
                    self.digests.learn(item.origin, there.st_mtime_ns, digest)
                else:
                    digest = None
            else:
                return None
            return self._entry(item, digest) if digest else None
        except (FileNotFoundError, NotADirectoryError):
            return None  # if it is the origin that is not there, fetching it says so
        except OSError as error:
            raise FetchError(f"{item.origin.name}: {error.strerror}") from error

    def _line_of(self, target: str) -> dict[str, Any] | None:
        """What a manifest says of the file, if the file is still what it is about."""
        entry = self.complete.get(target) or self.before.get(target)
        return entry if entry and entry["sha256"] == checks.sha256(self.folder / target) else None

    def _digest_of(self, item: Item, entry: dict[str, Any]) -> str | None:
        """What the file should have, as far as that can be known without fetching it."""
        if digest := item.origin.sha256 or self.digests.of(item.origin):
            return digest
        if item.origin.crc32 is not None:  # of the same size too: the same member of a newer archive
            same = checks.crc32(self.folder / item.target) == item.origin.crc32
        else:
            same = item.origin.address is not None and entry.get("origin") == item.origin.address
        return entry["sha256"] if same else None

    def fetch(self, items: list[Item]) -> None:
        """Fetch all; raises `FetchError` if some did not come, after the others have."""
        if not items:
            return
        self._partial.mkdir(exist_ok=True)
        first: dict[str, Item] = {}
        again = [item for item in items if first.setdefault(item.origin.identity, item) is not item]
        self._clear_partial({self._part(item).name for item in first.values() if item.origin.resumable})
        self._check_room(items)
        begun = {item for item in first.values() if item.origin.resumable and self._part(item).exists()}
        total = sum(item.origin.size or 0 for item in first.values())
        work = batches.group(first.values(), begun)
        with tqdm(total=total, unit="B", unit_scale=True, desc=self.folder.name, disable=None) as bar:
            self._progress = lambda count: _advance(bar, count)
            self._run(work)
        for item in again:
            if (self.folder / first[item.origin.identity].target).exists():
                self._repeat(item, first[item.origin.identity])
            else:  # this one may come although the other did not
                self._stop.clear()
                self._run(list(batches.group([item], set())))

    def _run(self, work: list[batches.Batch]) -> None:
        with ThreadPoolExecutor(self.limits.threads) as pool:
            try:
                for _ in pool.map(self._run_batch, work):
                    pass
            finally:  # on an error, or Ctrl-C: the others end at the next piece
                self._stop.set()
        if self._unfinished:
            left = sum(len(list(self._undone(batch))) for batch in work)
            raise FetchError(
                f"{left:,} files did not come ({self._unfinished[0]}); run again, what came is kept"
            )

    def _run_batch(self, batch: batches.Batch) -> None:
        if self._stop.is_set():
            return
        try:
            self._run_anew_if_interrupted(batch)
        except (Unavailable, *batches.DAMAGED) as why:
            if not isinstance(why, Unavailable):
                why = Unavailable("unreadable", f"{batch.items[0].origin.name}: damaged ({_said(why)})")
            for item in self._undone(batch):
                self.refuse(item, why)
        except Unfinished as why:
            with self._lock:
                self._unfinished.append(why)
            if len(self._unfinished) >= _GIVE_UP:
                self._stop.set()
        except FetchError:
            self._stop.set()
            raise
        except OSError as error:
            raise FetchError(f"{batch.items[0].origin.name}: {error.strerror}") from error

    def _run_anew_if_interrupted(self, batch: batches.Batch) -> None:
        """What cannot resume starts from its beginning, `tries` times in all."""
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
        for path in (self._part(item), self.folder / item.target):  # what was there is not what it should be
            path.unlink(missing_ok=True)
        with self._lock:
            self._done.add(item.target)
            path = item.target.removeprefix("media/")
            self.refused.append(Missing(path, item.source, why.problem, why.detail))

    def take(self, item: Item, open_at: Callable[[int], BinaryIO]) -> None:
        """Write the file under its partial name, check it, and give it its own name."""
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
        self.digests.learn(item.origin, status.st_mtime_ns, digest)
        with self._lock, open(self._partial / PLACED, "ab") as placed:
            placed.write(orjson.dumps(item.target, option=orjson.OPT_APPEND_NEWLINE))
        os.replace(part, target)
        with self._lock:
            self._done.add(item.target)
            self.bytes += status.st_size
            self.entries.append(self._entry(item, digest, status.st_size))

    def _write(self, item: Item, part: Path, open_at: Callable[[int], BinaryIO]) -> str:
        """Return the sha256 of what came, which is as it should be."""
        have = part.stat().st_size if item.origin.resumable and part.exists() else 0
        if have and item.origin.size is not None and have > item.origin.size:
            have = 0
        try:
            return self._transfer(item, part, have, open_at)
        except Unavailable:
            if not have:
                raise
            self._progress(-have)
            return self._transfer(item, part, 0, open_at)  # what was kept may have been at fault

    def _transfer(self, item: Item, part: Path, have: int, open_at: Callable[[int], BinaryIO]) -> str:
        held_against = checks.Checks(item, self.limits)
        with open(part, "r+b" if have else "wb") as out:
            if have:
                while out.tell() < have and (piece := out.read(min(PIECE, have - out.tell()))):
                    held_against.add(piece)
                self._progress(have)
            with open_at(have) as content:
                cloned = isinstance(item.origin, LocalFile) and _clone(content, out)
                while piece := content.read(PIECE):
                    if self._stop.is_set():
                        raise Unfinished("stopped")
                    held_against.add(piece)
                    if not cloned:
                        self._take_room(item, len(piece))
                        out.write(piece)
                    self._progress(len(piece))
        return held_against.passed()

    @contextmanager
    def _readable(self, item: Item) -> Iterator[None]:
        """Damaged archives, files of this machine that cannot be read or change meanwhile, a full disk."""
        try:
            yield
            if isinstance(item.origin, LocalFile):
                before, after = item.origin.status, os.stat(item.origin.path)
                if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                    raise FetchError(f"{item.origin.name}: changed while it was copied; run again")
        except (zipfile.BadZipFile, *batches.DAMAGED) as error:
            raise Unavailable("unreadable", f"{item.origin.name}: damaged ({_said(error)})") from None
        except OSError as error:
            if error.errno is None:  # bz2's way to say that its data are damaged
                raise Unavailable("unreadable", f"{item.origin.name}: damaged ({error})") from None
            where = self.folder if error.errno in (errno.ENOSPC, errno.EDQUOT) else item.origin.name
            raise FetchError(f"{where}: {error.strerror}") from error

    def _repeat(self, item: Item, first: Item) -> None:
        """The same content under a second name: a copy of what came."""
        part, origin = self._part(item), self.folder / first.target
        with self._readable(item), open(origin, "rb") as content, open(part, "wb") as out:
            self._take_room(item, origin.stat().st_size)
            if not _clone(content, out):
                shutil.copyfileobj(content, out, PIECE)
        self._place(item, part, self.digests.of(item.origin))

    def _check_room(self, items: list[Item]) -> None:
        begun = sum(path.stat().st_size for path in self._partial.iterdir())
        new = sum(item.origin.size or 0 for item in items) - begun
        free = shutil.disk_usage(self.folder).free
        if new > free:
            raise FetchError(f"{self.folder}: {new / GB:.1f} GB to come, {free / GB:.1f} GB free; make room")
        limit = self.limits.disk_gb
        held = sum(os.stat(self.folder / path).st_size for path in _files(self.folder)) if limit else 0
        self._room = float("inf") if limit is None else limit * GB - held - begun

    def _take_room(self, item: Item, count: int) -> None:
        """Sizes that nobody told, and those of files that are to be replaced, are known only now."""
        with self._lock:
            self._room -= count
        if self._room < 0:
            raise FetchError(
                f"{item.origin.name}: no room within {self.limits.disk_gb:g} GB (disk_gb); what came is kept"
            )

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
        """From now on the folder is incomplete until the manifest is written again."""
        with self._lock:
            if (self.folder / MANIFEST).exists():
                self._partial.mkdir(exist_ok=True)
                os.replace(self.folder / MANIFEST, self._partial / MANIFEST)


def _manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """A damaged one says nothing: then the digests tell what is here, or the file is fetched again."""
    try:
        return read_manifest(folder)
    except (ValueError, KeyError, TypeError):
        return {}


def _said(error: BaseException) -> str:
    return str(error).split("\n")[0][:200] or type(error).__name__


def _placed(journal: Path) -> Iterator[str]:
    """The targets that a killed run placed; a line that the kill cut names a file that was not placed yet."""
    for line in journal.read_bytes().splitlines() if journal.exists() else ():
        with suppress(ValueError):
            if isinstance(target := orjson.loads(line), str):
                yield target


def _clone(content: BinaryIO, out: BinaryIO) -> bool:
    """Share the blocks of an open file, which is then still read for its digest."""
    try:
        fcntl.ioctl(out.fileno(), _FICLONE, content.fileno())
    except OSError:  # another file system, or one that cannot
        return False
    return True


def _advance(bar: tqdm, count: int) -> None:
    if bar.total is not None and bar.n + count > bar.total:  # sizes that nobody told
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
