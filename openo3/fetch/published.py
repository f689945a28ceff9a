"""Plan from the catalogue: published annotations and exactly the media that they name."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from openo3.annotations import sources
from openo3.annotations.catalogue.table import AnnotationEntry, Catalogue, Place
from openo3.annotations.choice_records import parquet_rows
from openo3.annotations.files import targets
from openo3.annotations.rejections import RowError
from openo3.annotations.rows import AnnotationError
from openo3.annotations.sources import Reference
from openo3.benchmarks.registry import ANNOTATION_FILES
from openo3.configuration import ConfigurationError
from openo3.fetch.limits import Limits
from openo3.fetch.places import Places
from openo3.fetch.plan import (
    FetchError,
    Item,
    Missing,
    PlaceUnreachable,
    Plan,
    PlanProblem,
    Unavailable,
    Unfinished,
)
from openo3.fetch.random_access import LocalFile

FILES = {file.name: file for file in ANNOTATION_FILES}


@dataclass(frozen=True)
class Annotation:
    """The name and the catalogue entry of an annotation file."""

    name: str
    entry: AnnotationEntry


def annotation_files(catalogue: Catalogue, names: Sequence[str], places: Places) -> dict[Item, Annotation]:
    """The annotation files of these names. They are fetched before their media are planned.

    Raises `ConfigurationError` if a name is unknown or its place is, `FetchError` if a file is unavailable.
    """
    found: dict[Item, Annotation] = {}
    for name in names:
        entry = catalogue.annotations.get(name)
        if entry is None:
            known = ", ".join(catalogue.annotations)
            raise ConfigurationError(f"{name}: no such annotation in the catalogue; there are {known}")
        if entry.place is None:
            raise ConfigurationError(
                f"{name}: its place is not known; give it in a table of your own ({entry.note})"
            )
        try:
            files = places.files(entry.place)
        except (Unavailable, Unfinished) as why:
            raise FetchError(f"{name}: {why}") from None
        for path, file in zip(_targets(name, entry, entry.place, len(files)), files, strict=True):
            found[Item(path, file, "annotations")] = Annotation(name, entry)
    return found


def _targets(name: str, entry: AnnotationEntry, place: Place, count: int) -> list[str]:
    """Target paths. Files that the pipeline reads keep their published names; others get their own folder."""
    filename = FILES[name].filename if name in FILES else f"{name}/"
    if name not in FILES and entry.source is None:
        raise ConfigurationError(
            f"{name}: catalogue.annotations.{name}.source: missing key; it names the source of the media"
        )
    if count > 1 and not filename.endswith("/"):
        raise ConfigurationError(f"{name}: {count} files match, but it is one file; name that one")
    if len(place.paths) != count:
        raise ConfigurationError(f"{name}: {count} files match {len(place.paths)} paths; name each file")
    return targets(filename, place.paths)


def media(
    catalogue: Catalogue,
    annotations: dict[Item, Annotation],
    folder: Path,
    places: Places,
    limits: Limits,
    leave_out: Sequence[str] = (),
) -> Plan:
    """Plan the annotations, which are already in `folder`, and every media file that they name.

    Raises `ConfigurationError` for an unknown source, `FetchError` if a place does not answer,
    `AnnotationError` if a file cannot be read.
    """
    plan = Plan()
    unknown = [name for name in leave_out if name not in catalogue.sources]
    if unknown:
        raise ConfigurationError(
            f"{unknown[0]}: no such source in the catalogue; there are {', '.join(catalogue.sources)}"
        )
    wanted: dict[str, Reference] = {}
    for item, annotation in annotations.items():
        path = folder / item.target
        plan.items.append(Item(item.target, LocalFile(path, item.origin.address), "annotations"))
        for reference in references(annotation, path):
            wanted.setdefault(reference.media, reference)
    locate = _Locator(catalogue, places, set(leave_out))
    with ThreadPoolExecutor(limits.threads) as pool:
        for found in pool.map(locate, wanted.values()):
            if isinstance(found, Item):
                plan.items.append(found)
            else:
                plan.missing.append(found)
    plan.unreachable.update(locate.unreachable)
    return plan


@dataclass(frozen=True)
class _Locator:
    catalogue: Catalogue
    places: Places
    leave_out: set[str]
    unreachable: dict[str, str] = field(default_factory=dict)

    def __call__(self, reference: Reference) -> Item | Missing:
        source = reference.source.name
        entry = self.catalogue.sources[source]
        if source in self.leave_out:
            return Missing(reference.media, source, "missing", "left out (leave_out)")
        reasons: list[Unavailable] = []
        for place in entry.media:
            if reference.kind in place.holds:
                try:
                    origin = self.places.open(place).find(reference)
                except Unavailable as why:
                    reasons.append(why)
                except Unfinished as why:
                    raise FetchError(f"{why}; run again later") from None
                else:
                    return Item(f"media/{reference.media}", origin, source)
        if unreachable := [why.detail for why in reasons if isinstance(why, PlaceUnreachable)]:
            self.unreachable[reference.media] = unreachable[0]
        problems: list[PlanProblem] = [why.problem for why in reasons if why.problem != "missing"]
        detail = "; ".join(why.detail for why in reasons) or entry.note or "no place is known"
        return Missing(reference.media, source, problems[0] if problems else "missing", detail)


def references(annotation: Annotation, path: Path) -> Iterator[Reference]:
    """Each file that the annotation names. Unreadable rows are left to `validate`."""
    if annotation.name in FILES:
        for raw in FILES[annotation.name].rows(path):
            try:
                yield from FILES[annotation.name].references(raw)
            except RowError:
                continue
        return
    source = sources.get(annotation.entry.source)
    for name in _names(path, annotation.entry.column):
        try:
            yield sources.reference(source, "videos", f"{name}{annotation.entry.suffix}", path.name)
        except RowError:
            continue


def _names(path: Path, column: str | None) -> Iterable[str]:
    """The values of a column of a Parquet, TSV, CSV or JSON file, or the keys of a JSON object."""
    reader: dict[str, Callable[[Path, str | None], Iterable[object]]] = defaultdict(
        lambda: _json, {".parquet": _parquet, ".tsv": _delimited, ".csv": _delimited}
    )
    try:
        return [str(value) for value in reader[path.suffix](path, column)]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        said = " ".join(str(error).split())
        raise AnnotationError(f"{path}: column {column!r} cannot be read ({said})") from None


def _parquet(path: Path, column: str | None) -> Iterable[object]:
    if column is None:
        raise KeyError(column)
    return (row[column] for row in parquet_rows(path, [column]))


def _delimited(path: Path, column: str | None) -> Iterable[object]:
    with open(path, newline="", encoding="utf-8") as file:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        return [row[column] for row in csv.DictReader(file, delimiter=delimiter)]


def _json(path: Path, column: str | None) -> Iterable[object]:
    rows = orjson.loads(path.read_bytes())
    return list(rows) if column is None else [row[column] for row in rows]
