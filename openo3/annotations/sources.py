"""Where each source keeps its media below `data/raw/media`, and how its texts write boxes.

    get("STR_plm_rdcap") -> Source("STR_plm_rdcap", videos="videos/stgr/plm/videos", key_frames=...)

`video_path`, `image_path` and the `path` of a key frame are relative to `videos`, `images` and `key_frames`.
The entries are those of the catalogue (`catalogue/sources.yaml`), and those that `use` adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from openo3.annotations.catalogue.table import BoxKind, Kind, SourceEntry, shipped
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import identifier, record, shown
from openo3.core.geometry import NORMALISED, BoxSpace, pixels
from openo3.core.schema import Task
from openo3.files.safe_path import UnsafePath, relative


@dataclass(frozen=True)
class Source:
    """`name` is the value of a row's `source`, or a pattern (`TVG_*`) for a family that shares its folders.

    The three roots are relative to `data/raw/media`; `None` where the source has no such media. Boxes in
    `reasoning_process` and `answer` are normalised 0-1 of the frame or pixels of the row's `image_size`.
    (Those of `key_items` are normalised in every source.)
    """

    name: str
    videos: str | None = None
    key_frames: str | None = None
    images: str | None = None
    video_boxes: BoxKind = "normalised"
    image_boxes: BoxKind = "pixels"
    benchmark: bool = False

    def box_space(self, task: Task, image_size: tuple[int, int] | None) -> BoxSpace:
        """The coordinate space of boxes in the texts of a row; pixels need its `image_size`."""
        kind = self.image_boxes if task is Task.VISUAL else self.video_boxes
        if kind == "normalised":
            return NORMALISED
        if image_size is None:
            raise RowError(Reason.FIELD_MISSING, "image_size", "the boxes are pixels of it")
        return pixels(image_size)


@dataclass(frozen=True)
class Reference:
    """One file that a row names: `path` is safe, and relative to the source's root of that kind."""

    source: Source
    kind: Kind
    path: str

    @property
    def media(self) -> str:
        """Relative to `data/raw/media`."""
        return f"{getattr(self.source, self.kind)}/{self.path}"


_own: dict[str, SourceEntry] = {}


def use(entries: Mapping[str, SourceEntry]) -> None:
    """Take these before the shipped ones, in this process, instead of those that were given before."""
    _own.clear()
    _own.update(entries)
    get.cache_clear()


@lru_cache(1024)
def get(name: str) -> Source:
    """The source of that name: the first entry that matches it.

    Raises `RowError` for an unknown one.
    """
    for entries in (_own, shipped().sources):
        for pattern, entry in entries.items():
            if fnmatchcase(name, pattern):
                return _source(pattern, entry)
    detail = f"{shown(name)} is not in the catalogue of sources; your own is local"
    raise RowError(Reason.UNKNOWN_SOURCE, "source", detail)


def _source(pattern: str, entry: SourceEntry) -> Source:
    return Source(
        pattern,
        entry.videos,
        entry.key_frames,
        entry.images,
        entry.video_boxes,
        entry.image_boxes,
        entry.benchmark,
    )


def reference(source: Source, kind: Kind, path: str, field: str) -> Reference:
    """The file that a row's `field` names.

    Raises `RowError` if the path is unsafe or the source has no such media.
    """
    if getattr(source, kind) is None:
        raise RowError(Reason.NO_SUCH_MEDIA, field, f"{source.name} has no {kind}")
    try:
        return Reference(source, kind, relative(path))
    except UnsafePath as error:
        raise RowError(Reason.UNSAFE_PATH, field, f"{shown(path)} {error}") from None


def video(source: str, raw: Any, field: str) -> list[Reference]:
    """The video of a record, which `field` names without its suffix `.mp4`. Raises `RowError`."""
    name = identifier(record(raw), field)
    return [reference(get(source), "videos", f"{name}.mp4", field)]
