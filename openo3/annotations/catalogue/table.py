"""The catalogue as data: `sources.yaml` beside this file, and files of the user's own in the same form.

    catalogue:
      sources:
        STR_plm_rdcap:                                   # a row's `source`, or a pattern like TVG_*
          videos: videos/stgr/plm/videos                 # where its media go, below data/raw/media
          key_frames: videos/stgr/plm/kfs
          media:                                         # where they come from: the first that has a file
            - {hub: marinero4972/Open-o3-Video, path: videos/stgr.zip, packing: zip}
            - {folder: ~/videos/plm}

An entry of the user's own comes before the shipped one of the same name, and replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from openo3.annotations.rejections import Reason, RowError
from openo3.configuration import ConfigurationError, read_block
from openo3.core.geometry import NORMALISED, BoxSpace, pixels
from openo3.core.schema import Task
from openo3.files.safe_path import UnsafePath, relative

Kind = Literal["videos", "key_frames", "images"]
BoxKind = Literal["normalised", "pixels"]
KINDS: tuple[Kind, ...] = ("videos", "key_frames", "images")


@dataclass(frozen=True)
class Place:
    """Where files are: exactly one of a `hub` dataset, a `url`, a `folder` and a video `site`.

    `path` is below it: for `files` the folder that paths of rows are relative to, for archives their names,
    which may be patterns on a hub or in a folder. Of a split zip it names the last part, `.zip`. The members
    of an archive are found by the end of their path. `revision` is a commit, tag or branch of a hub dataset;
    null is its newest commit, which the manifest then records. `site` is an address for yt-dlp, with `{name}`
    for a file's name without its suffix. `holds` says which kinds of media are there.
    """

    hub: str | None = None
    revision: str | None = None
    url: str | None = None
    folder: str | None = None
    site: str | None = None
    path: str | tuple[str, ...] = ""
    packing: Literal["files", "zip", "split zip", "tar"] = "files"
    holds: tuple[Kind, ...] = KINDS

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def name(self) -> str:
        """What reports call it."""
        at = f"hub {self.hub}" if self.hub else self.url or self.folder or self.site
        return f"{at}: {', '.join(self.paths)}" if any(self.paths) else str(at)


@dataclass(frozen=True)
class AnnotationEntry:
    """Where an annotation file is: null if it has no known place.

    `source` is whose media its records name. A file that the pipeline has no reader for names them in its
    `column`, to which `suffix` is added; without a column by the keys of its JSON object.
    """

    place: Place | None
    source: str | None = None
    column: str | None = None
    suffix: str = ""
    licence: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Source:
    """Where the media of a source go, relative to `data/raw/media`, and where they come from.

    `name` is the key of its entry: what rows call it, or a pattern (`TVG_*`) for a family that shares its
    folders. `videos`, `key_frames` and `images` are null where a source has no such media.

    Boxes in the texts of its rows, `reasoning_process` and `answer`, are normalised 0-1 of the frame, or
    pixels of the row's `image_size`; those of `key_items` are normalised in every source. `licence` and
    `size_gb`, of everything that is published, are null where they are not known.
    """

    name: str = ""
    videos: str | None = None
    key_frames: str | None = None
    images: str | None = None
    video_boxes: BoxKind = "normalised"
    image_boxes: BoxKind = "pixels"
    benchmark: bool = False
    media: tuple[Place, ...] = ()
    licence: str | None = None
    size_gb: float | None = None
    note: str = ""

    def box_space(self, task: Task, image_size: tuple[int, int] | None) -> BoxSpace:
        """The coordinate space of boxes in the texts of a row.

        Raises `RowError` where they are pixels and the row has no `image_size`.
        """
        kind = self.image_boxes if task is Task.VISUAL else self.video_boxes
        if kind == "normalised":
            return NORMALISED
        if image_size is None:
            raise RowError(Reason.FIELD_MISSING, "image_size", "the boxes are pixels of it")
        return pixels(image_size)


@dataclass(frozen=True)
class Catalogue:
    sources: Mapping[str, Source] = field(default_factory=dict)
    annotations: Mapping[str, AnnotationEntry] = field(default_factory=dict)

    def with_own(self, own: Catalogue) -> Catalogue:
        """The entries of `own`, then those of this one that it does not replace."""
        return Catalogue(
            {**own.sources, **{name: e for name, e in self.sources.items() if name not in own.sources}},
            {**self.annotations, **own.annotations},
        )


def read(path: str | Path) -> Catalogue:
    """Raises `ConfigurationError`, one line that names the file, the entry and the key."""
    catalogue = read_block(path, "catalogue", Catalogue)
    sources = {name: replace(source, name=name) for name, source in catalogue.sources.items()}
    for name, entry in sources.items():
        if catalogue.sources[name].name:
            raise ConfigurationError(f"{path}: catalogue.sources.{name}.name: unknown key")
        for kind in KINDS:
            if (root := getattr(entry, kind)) is not None:
                _check_root(f"{path}: catalogue.sources.{name}.{kind}", root)
        for number, place in enumerate(entry.media):
            _check_place(f"{path}: catalogue.sources.{name}.media.{number}", place)
    for name, annotation in catalogue.annotations.items():
        if "/" in name:
            raise ConfigurationError(
                f"{path}: catalogue.annotations: {name!r} names a folder; leave out any /"
            )
        _check_root(f"{path}: catalogue.annotations", name)
        if annotation.place:
            _check_place(f"{path}: catalogue.annotations.{name}.place", annotation.place)
    return replace(catalogue, sources=sources)


@cache
def shipped() -> Catalogue:
    with as_file(files("openo3.annotations.catalogue") / "sources.yaml") as path:
        return read(path)


def _check_address(where: str, address: str | None) -> None:
    """The table is copied to `data/raw`, addresses into the manifest: they hold no user or password."""
    if address is None:
        return
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(f"{where}: needs an address that begins with http:// or https://")
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"{where}: holds a user or password; fetch the files yourself and name their `folder`"
        )


def _check_root(where: str, root: str) -> None:
    try:
        if relative(root) != root:
            raise UnsafePath(f"is written {relative(root)}")
    except UnsafePath as error:
        raise ConfigurationError(f"{where}: {root!r} {error}") from None


def _check_place(where: str, place: Place) -> None:
    named = [name for name in ("hub", "url", "folder", "site") if getattr(place, name)]
    if len(named) != 1:
        raise ConfigurationError(
            f"{where}: needs one of hub, url, folder and site, has {', '.join(named) or 'none'}"
        )
    for key in ("url", "site"):
        _check_address(f"{where}.{key}", getattr(place, key))
    if place.url and ("?" in place.url or "#" in place.url):
        raise ConfigurationError(f"{where}.url: ends before any ? or #, because paths are added to it")
    if place.revision and not place.hub:
        raise ConfigurationError(f"{where}.revision: only a hub dataset has revisions")
    if place.site and ("{name}" not in place.site or place.packing != "files"):
        raise ConfigurationError(f"{where}.site: needs {{name}} in the address, and no packing")
    if place.packing != "files" and not all(place.paths):
        raise ConfigurationError(f"{where}.path: missing key, the name of the archive")
    for path in filter(None, place.paths):
        _check_root(f"{where}.path", path)
