"""Plan from the user's own folder: annotations and media that are already on this machine.

    my_clips/
      STGR-SFT.json  STGR-RL.json          either or both, and any benchmark file under its published name
      videos/  kfs/  images/               media of the STGR files
      NAME/                                media of the benchmark of that name

The published layout (`json_data/`, `videos/stgr/plm/kfs/`, ...) works as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from openo3.annotations.files import AnnotationFile, targets
from openo3.annotations.rejections import RowError
from openo3.annotations.sources import Reference
from openo3.benchmarks.registry import ANNOTATION_FILES
from openo3.fetch.near_misses import NearMisses
from openo3.fetch.places import SearchedFolder
from openo3.fetch.plan import FetchError, Item, Missing, Plan, PlanProblem, Unavailable
from openo3.fetch.random_access import LocalFile
from openo3.files.safe_path import UnsafePath

_PARTS = (".parquet", ".csv", ".json")
_FOLDERS = {"videos": "videos", "key_frames": "kfs", "images": "images"}


def plan(folder: Path, without: Collection[str] = ()) -> Plan:
    """Plan every annotation file of the folder and every media file that they name.

    The benchmarks `without`, which another source has, are left out; a line names those that are there.

    Raises `FetchError` if there is no annotation file, `AnnotationError` if one of them cannot be read.
    """
    if not folder.is_dir():
        raise FetchError(f"{folder}: no such folder")
    found = [(file, path) for file in ANNOTATION_FILES if (path := _annotation(folder, file))]
    if not found:
        names = ", ".join(file.filename for file in ANNOTATION_FILES)
        raise FetchError(f"{folder}: contains no annotation file (looked for {names})")
    for file, path in found:
        if file.name in without:
            print(f"{path}: left out, a source before it has {file.filename}")
    found = [(file, path) for file, path in found if file.name not in without]
    result = Plan([item for file, path in found for item in _items(file, path)])
    roots: dict[str, SearchedFolder] = {}
    near = NearMisses(folder)
    for reference in _distinct(found):
        _locate(folder, reference, roots, near, result)
    return result


def _annotation(folder: Path, file: AnnotationFile) -> Path | None:
    candidates = (folder / file.filename, folder / "json_data" / file.filename)
    is_there = _parts if file.filename.endswith("/") else Path.is_file
    return next((path for path in candidates if is_there(path)), None)


def _parts(folder: Path) -> list[Path]:
    return sorted(part for part in folder.rglob("*") if part.suffix in _PARTS and part.is_file())


def _items(file: AnnotationFile, path: Path) -> list[Item]:
    parts = _parts(path) if path.is_dir() else [path]
    names = targets(file.filename, [str(part.relative_to(path)) for part in parts])
    return [Item(name, LocalFile(part), "annotations") for name, part in zip(names, parts, strict=True)]


def _distinct(found: list[tuple[AnnotationFile, Path]]) -> Iterator[Reference]:
    """Each file that the annotations name, once. Unreadable rows are left to `validate`."""
    seen: set[str] = set()
    for file, path in found:
        for raw in file.rows(path):
            try:
                references = file.references(raw)
            except RowError:
                continue
            for reference in references:
                if reference.media not in seen:
                    seen.add(reference.media)
                    yield reference


def _locate(
    folder: Path, reference: Reference, roots: dict[str, SearchedFolder], near: NearMisses, result: Plan
) -> None:
    """Add the file to the plan, either to its items or to its missing files."""
    source, kind = reference.source, reference.kind
    problem: PlanProblem = "missing"
    detail = f"not in {folder.name}/"
    names = (source.name if source.benchmark else _FOLDERS[kind], getattr(source, kind))
    for name in names:
        root = roots.setdefault(name, SearchedFolder(folder / name))
        try:
            if file := root.find(reference):
                result.items.append(Item(f"media/{reference.media}", LocalFile(file), source.name))
                return
        except UnsafePath as error:
            problem, detail = "unsafe", f"{name}/{reference.path}: {error}"
        except Unavailable as why:
            problem, detail = why.problem, f"{name}/: {why.detail}"
    hints = (near.hint(f"{name}/{reference.path}") for name in names) if problem == "missing" else ()
    hint = next(filter(None, hints), "")
    result.missing.append(Missing(reference.media, source.name, problem, detail, hint))
