"""Which source a row belongs to, and where the files that it names are below `data/raw/media`.

    get("STR_plm_rdcap") -> Source("STR_plm_rdcap", videos="videos/stgr/plm/videos", key_frames=...)

`video_path`, `image_path` and the `path` of a key frame are relative to the source's `videos`, `images` and
`key_frames`. The sources are those of the catalogue (`catalogue/sources.yaml`), and inside `with_own` the
user's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from openo3.annotations.catalogue.table import Kind, Source, shipped
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import identifier, record, shown
from openo3.files.safe_path import UnsafePath, relative


@dataclass(frozen=True)
class Reference:
    """One file that a row names: `path` is safe, and relative to the source's root of that kind.

    `any_ending`: the row names a video without an ending. It is kept under `path`, which ends in `.mp4`,
    whatever its container, since the content of a file decides what it is.
    """

    source: Source
    kind: Kind
    path: str
    any_ending: bool = False

    @property
    def media(self) -> str:
        """Relative to `data/raw/media`."""
        return f"{getattr(self.source, self.kind)}/{self.path}"


_own: Mapping[str, Source] = {}


@contextmanager
def with_own(entries: Mapping[str, Source]) -> Iterator[None]:
    """Inside, these sources come before the shipped ones, in all threads of this process."""
    global _own
    before, _own = _own, entries
    get.cache_clear()
    try:
        yield
    finally:
        _own = before
        get.cache_clear()


@lru_cache(1024)
def get(name: str) -> Source:
    """The source of that name: the first entry that matches it.

    Raises `RowError` for an unknown one.
    """
    for entries in (_own, shipped().sources):
        for pattern, source in entries.items():
            if fnmatchcase(name, pattern):
                return source
    detail = f"{shown(name)} is not in the catalogue of sources; your own is local"
    raise RowError(Reason.UNKNOWN_SOURCE, "source", detail)


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
    """The video of a record, which `field` names without an ending. Raises `RowError`."""
    name = identifier(record(raw), field)
    return [replace(reference(get(source), "videos", f"{name}.mp4", field), any_ending=True)]
