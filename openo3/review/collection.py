"""The records to look at, where their media are, and why some of them are rejected.

    with opened(Path("local")) as collection:
        for entry in collection.entries:
            print(entry.file, entry.row, entry.rejection)

`opened` takes a folder with annotations and media, as `download` reads it; `data/validated`, whose rows are
those of `data/raw` and whose rejections are the stage's; or one STGR file, with the media in folders beside
it. Either way the media are below one folder that is laid out like `data/raw`: for a folder of one's own it
holds links.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from openo3.annotations import sources, stgr
from openo3.annotations.catalogue import table
from openo3.annotations.files import STGR_FILES
from openo3.annotations.rejections import Reason, Rejection, RowError, label, labels
from openo3.annotations.rows import read_rows, shown
from openo3.fetch import local
from openo3.fetch.manifest import MISSING, OWN_SOURCES
from openo3.fetch.plan import FetchError, Plan
from openo3.fetch.random_access import LocalFile
from openo3.files.artifacts import read_jsonl, write_jsonl
from openo3.media.probe import TIME_LIMIT_S
from openo3.review.rules import Checker
from openo3.validation.formats import FORMATS, Format
from openo3.validation.media import MediaFacts, MediaIndex, read_index

TIME_TOLERANCE_S = 0.5
"""How far a time may lie beyond the end of its media, as in `validate`."""

ASIDE = "rejected"
"""The field of a row that was set aside: `{"reason": ..., "field": ..., "detail": ...}`, or a mere text."""

ASIDE_FILE = "aside.jsonl"
"""What an annotator's filters left out of the files beside it, a line each: `{"reason": ..., "detail": ...,
"filter": ..., "record": the row or null}`."""

_NAMES = {file.filename: file.name for file in STGR_FILES}
_OUTPUTS = {FORMATS[file.name].output: file for file in STGR_FILES}
_MEDIA_FOLDERS = ("videos", "kfs", "images")
_REPOSITORY = (".cache/openo3/media.jsonl", ".dvc/cache")


class LookError(ValueError):
    """There are no records to look at; the message is one line that says what to do."""


@dataclass(frozen=True)
class Entry:
    """One row of the annotation file `file`, from 0. `rejection` is why it cannot be used.

    `target` is the annotation file that it belongs to: `file` itself, or that beside an `ASIDE_FILE`.
    """

    number: int
    file: str
    split: str
    row: int
    line: bytes
    rejection: Rejection | None = None
    aside: bool = False
    """The file itself says why the row is rejected."""
    target: str = ""

    @property
    def raw(self) -> Any:
        """The row as it is in the file."""
        return json.loads(self.line)

    @property
    def format(self) -> Format:
        return FORMATS[self.split]


@dataclass(frozen=True)
class Collection:
    """`path` is what was opened; `files` are its annotation files by name, each with its split.

    `raw` has the media in its folder `media`, where links may lead into `trusted()`. `home` is the folder
    where they are without links.
    """

    path: Path
    files: Mapping[str, str]
    entries: Sequence[Entry]
    home: Path
    raw: Path
    trusted: Callable[[], Iterable[Path]]
    index: MediaIndex
    checker: Checker = field(repr=False)

    def facts(self, media: str) -> MediaFacts:
        """What is known of a media file, also of one that only a rejected row names."""
        try:
            return self.index[media]
        except KeyError:
            self.index.inspect([media], 1)
            return self.index[media]

    def rejection(self, entry: Entry, raw: Any) -> Rejection | None:
        """Why the row, corrected to `raw`, cannot be used."""
        found = self.checker.rejections(Path(entry.file), entry.format, [raw], 1)
        return replace(found[0], row=entry.row) if found else None


@contextmanager
def opened(
    path: Path, media: Path | None = None, time_tolerance_s: float = TIME_TOLERANCE_S
) -> Iterator[Collection]:
    """The records of a folder or file; what it needs of temporary files lasts as long as the block.

    `media` is the folder with `videos/`, `kfs/` and `images/`, by default the annotations' own.

    Raises:
        LookError: there are no such records.
        AnnotationError: an annotation file cannot be read as a whole.
    """
    with tempfile.TemporaryDirectory(prefix="openo3-look-") as name:
        folder = Path(name)
        if not path.exists():
            raise LookError(f"{path}: no such file or folder")
        (folder / "spool").mkdir()
        if path.is_dir() and any((path / output).is_file() for output in _OUTPUTS):
            own = path.parent / "raw" / OWN_SOURCES
            with sources.with_own(table.read(own).sources if own.exists() else {}):
                yield _validated(path, folder, time_tolerance_s)
        else:
            yield _own(path, media, folder, time_tolerance_s)


def _validated(path: Path, folder: Path, time_tolerance_s: float) -> Collection:
    """The rows of `data/raw` with the rejections that the stage `validate` wrote."""
    raw, root = path.parent / "raw", path.parent.parent
    known, cache = (root / each for each in _REPOSITORY)
    if not (raw / "media").is_dir():
        raise LookError(f"{path}: its rows and media are in {raw}, which is not there; run the pipeline")

    def trusted() -> list[Path]:
        return [cache]

    rejected: dict[tuple[str, int], Rejection] = {}
    try:
        for one in read_jsonl(path / "rejected.jsonl"):
            rejected[one["file"], one["row"]] = Rejection(**{**one, "reason": _reason(one["reason"])})
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise LookError(f"{path / 'rejected.jsonl'}: {error}; run the stage validate again") from None
    found = [
        (file.filename, file.name, raw / "annotations" / file.filename)
        for file in _OUTPUTS.values()
        if (raw / "annotations" / file.filename).is_file()
    ]
    remembered = folder / "media.jsonl"
    if known.is_file():
        remembered.write_bytes(known.read_bytes())  # the stage's own stays as it is
    index = read_index(raw, remembered, trusted, TIME_LIMIT_S)
    checker = Checker(index, folder / "spool", time_tolerance_s)
    entries = [entry for one in found for entry in _entries(*one)]
    numbered = [
        replace(entry, number=number, rejection=rejected.get((entry.file, entry.row)))
        for number, entry in enumerate(entries)
    ]
    _inspect(index, numbered)
    return _collection(path, found, numbered, raw / "media", raw, trusted, index, checker)


def _own(path: Path, media: Path | None, folder: Path, time_tolerance_s: float) -> Collection:
    """The rows of a folder of one's own, or of one file, checked against the rules here."""
    staged = _staged(path, media, folder)
    try:
        plan = local.plan(staged)
    except FetchError as error:
        raise LookError(str(error).replace(str(staged), str(path))) from None
    raw = folder / "raw"
    homes = {Path(os.path.realpath(staged))} | {
        Path(os.path.realpath(each)) for each in staged.iterdir() if each.is_dir()
    }
    _link(plan, raw, homes)
    (raw / "media").mkdir(parents=True, exist_ok=True)
    write_jsonl(raw / MISSING, (one.to_json() for one in plan.missing))

    def trusted() -> list[Path]:
        return sorted(homes)

    index = read_index(raw, folder / "media.jsonl", trusted, TIME_LIMIT_S)
    checker = Checker(index, folder / "spool", time_tolerance_s)
    found = _annotation_files(path, staged)
    entries: list[Entry] = []
    aside_rows = _set_aside(staged, found)
    if aside_rows:
        _link(_plan_aside(staged, aside_rows, folder), raw, homes)
    for name, split, file in found:
        rows = _entries(name, split, file)
        rejected = checker.rejections(
            Path(name), FORMATS[split], [one.raw for one in rows], os.cpu_count() or 1
        )
        for entry in rows:
            aside = _aside(entry)
            why = aside or rejected.get(entry.row)
            entries.append(replace(entry, number=len(entries), rejection=why, aside=aside is not None))
    for entry in aside_rows:
        entries.append(replace(entry, number=len(entries), rejection=_aside(entry), aside=True))
    _inspect(index, entries)
    home = media or (path if path.is_dir() else path.parent)
    return _collection(path, found, entries, home, raw, trusted, index, checker)


def _link(plan: Plan, raw: Path, homes: set[Path]) -> None:
    """Links to the plan's media below `raw`; the folders that they lead into are added to `homes`."""
    for item in plan.items:
        link = raw / item.target
        if (
            not item.target.startswith("media/")
            or not isinstance(item.origin, LocalFile)
            or link.is_symlink()
        ):
            continue
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.realpath(item.origin.path))
        homes.add(link.resolve().parent)


def _set_aside(folder: Path, found: Sequence[tuple[str, str, Path]]) -> list[Entry]:
    """The rows that an annotator's filters left out, each with why."""
    path = folder / ASIDE_FILE
    if not path.is_file():
        return []
    target, split, _ = found[0]
    entries = []
    try:
        for row, line in enumerate(read_jsonl(path)):
            why = {"reason": line["reason"], "field": line.get("filter") or "", "detail": line.get("detail")}
            record = line.get("record") or {
                name: line.get(name) for name in ("task", "question", "clip", "text")
            }
            entries.append(Entry(0, ASIDE_FILE, split, row, _line({**record, ASIDE: why}), target=target))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LookError(f"{path}: line {len(entries) + 1}: {error}") from None
    return entries


def _plan_aside(staged: Path, entries: Sequence[Entry], folder: Path) -> Plan:
    """Where the media of rows that were set aside are."""
    place = folder / "aside"
    place.mkdir()
    name = next(name for name, split in _NAMES.items() if split == entries[0].split)
    (place / name).write_bytes(b"[" + b",".join(entry.line for entry in entries) + b"]")
    for media in _MEDIA_FOLDERS:
        if (staged / media).is_dir():
            (place / media).symlink_to((staged / media).resolve())
    return local.plan(place)


def _staged(path: Path, media: Path | None, folder: Path) -> Path:
    """A folder as `fetch.local` reads it: the one that is named, or links to one file and its media."""
    base = (media or (path if path.is_dir() else path.parent)).resolve()
    if path.is_dir() and media is None:
        return path
    if not base.is_dir():
        raise LookError(f"--media {media}: no such folder")
    staged = folder / "staged" / (base.name or "media")
    staged.mkdir(parents=True)
    if path.is_dir():
        for name in _NAMES:
            if (source := _in_folder(path, name)) is not None:
                (staged / name).symlink_to(source.resolve())
    else:
        name = next(name for name, split in _NAMES.items() if split == _split_of(path))
        (staged / name).symlink_to(path.resolve())
    for name in _MEDIA_FOLDERS:
        there = base / name
        (staged / name).symlink_to(there if there.is_dir() else base)
    return staged


def _annotation_files(path: Path, staged: Path) -> list[tuple[str, str, Path]]:
    """`(name, split, path)` of each training file."""
    if path.is_file():
        return [(path.name, _split_of(path), path)]
    found = [(name, split, _in_folder(staged, name)) for name, split in _NAMES.items()]
    there = [(name, split, file) for name, split, file in found if file is not None]
    if not there:
        raise LookError(f"{path}: has no {' and no '.join(_NAMES)}; `openo3 gallery` shows benchmarks")
    return there


def _in_folder(folder: Path, name: str) -> Path | None:
    places = (folder / name, folder / "json_data" / name)
    return next((place for place in places if place.is_file()), None)


def _split_of(path: Path) -> str:
    """`rl` for a file of that name, or whose first row has no reasoning."""
    if path.name in _NAMES:
        return _NAMES[path.name]
    first = next(iter(read_rows(path)), None)
    return "sft" if isinstance(first, dict) and first.get("reasoning_process") is not None else "rl"


def _entries(name: str, split: str, path: Path) -> list[Entry]:
    rows = enumerate(read_rows(path))
    return [
        Entry(0, name, split, row, _line(raw), target=name)
        for row, raw in tqdm(rows, name, unit="row", disable=None, leave=False)
    ]


def _line(raw: Any) -> bytes:
    try:
        return json.dumps(raw, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b'"lists within lists, too deep to show"'


def _aside(entry: Entry) -> Rejection | None:
    """Why the file itself says that the row was set aside."""
    raw = entry.raw
    said = raw.get(ASIDE) if isinstance(raw, Mapping) else None
    if not said:
        return None
    about = said if isinstance(said, Mapping) else {"reason": said}
    reason = _reason(label(about.get("reason")) or "set aside")
    where, detail = (label(about.get(key)) or "" for key in ("field", "detail"))
    return Rejection(entry.file, entry.row, *labels(raw), reason, where, detail)  # type: ignore[arg-type]


def _reason(text: str) -> Any:
    """A reason of `validate`, or another one in its own words."""
    try:
        return Reason(text)
    except ValueError:
        return shown(text).strip('"')


def media_of(raw: Any) -> str | None:
    """The media file that a row names, below `raw/media`; None if it names none that could be there."""
    try:
        return stgr.references(raw)[0].media
    except RowError:
        return None


def _inspect(index: MediaIndex, entries: Iterable[Entry]) -> None:
    """Look at the media of all rows, also of those whose records cannot be read."""
    named = {media for media in (media_of(entry.raw) for entry in entries) if media}
    index.inspect(named, os.cpu_count() or 1)


def _collection(
    path: Path,
    found: Sequence[tuple[str, str, Path]],
    entries: Sequence[Entry],
    home: Path,
    raw: Path,
    trusted: Callable[[], Iterable[Path]],
    index: MediaIndex,
    checker: Checker,
) -> Collection:
    if not entries:
        raise LookError(f"{path}: has no training records")
    files = {name: split for name, split, _ in found}
    return Collection(path, files, entries, home, raw, trusted, index, checker)
