"""Where each source keeps its media below `data/raw/media`, and how its texts write boxes.

An entry, as the rows of STGR-SFT.json with `"source": "STR_plm_rdcap"` need it:

    Source("STR_plm_rdcap", videos="videos/stgr/plm/videos", key_frames="videos/stgr/plm/kfs")

`video_path`, `image_path` and the `path` of a key frame are relative to `videos`, `images` and `key_frames`.
The layout is the published one. To add a source, add an entry; nothing else asks for a source by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from openo3.geometry import NORMALISED, BoxSpace, pixels
from openo3.rejections import Reason, RowError
from openo3.rows import shown
from openo3.safe_path import UnsafePath, relative
from openo3.schema import Task

Kind = Literal["videos", "key_frames", "images"]
BoxKind = Literal["normalised", "pixels"]


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


def _in_one_folder(name: str) -> Source:
    folder = f"videos/{name}"
    return Source(name, f"{folder}/videos", f"{folder}/kfs", f"{folder}/images")


SOURCES: tuple[Source, ...] = (
    _in_one_folder("shapes"),  # the rendered world of the default profile
    _in_one_folder("local"),  # a folder of the user's own
    Source("STR_plm_rdcap", videos="videos/stgr/plm/videos", key_frames="videos/stgr/plm/kfs"),
    Source(  # activitynet, coin, didemo, queryd, qvhighlight
        "STR_*",
        videos="videos/stgr/temporal_grounding/videos",
        key_frames="videos/stgr/temporal_grounding/kfs",
    ),
    Source("TVG_*", videos="videos/tvg_r1"),  # ActivityNet, QVhighlight, didemo, hirest_grounding, ...
    Source("TreeVGR", images="videos/treevgr"),
    Source("timerft", videos="videos/timerft"),
    Source("gqa", images="videos/gqa"),
    Source(
        "videoespresso_train_video",
        videos="videos/videoespresso/videos",
        key_frames="videos/videoespresso/kfs",
    ),
    Source("videor1_*", videos="videos/videor1"),  # mcq and (so spelled) free_from
    Source("vstar", videos="videos/vstar", benchmark=True),
    Source("tvgbench", videos="videos/tvgbench", benchmark=True),
)
"""The first entry that matches a row's source is taken."""


def get(name: str) -> Source:
    """The source of that name.

    Raises `RowError` for an unknown one.
    """
    for source in SOURCES:
        if fnmatchcase(name, source.name):
            return source
    detail = f"{shown(name)} is not in openo3/sources.py; your own is local"
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
