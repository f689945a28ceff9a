"""Annotations of other tools as STGR records, and records as annotations of other tools.

tracks          the form in between: clips with tracks of boxes, spans and the record that they belong to
media           the videos and images that annotations are about: sizes, and the true time of each frame
cvat            CVAT for video 1.1 (XML)
coco_video      COCO with videos, as TAO, CocoVID and YouTube-VIS have it
label_studio    Label Studio's JSON
via             VGG Image Annotator 2 and 3
stgr_file       STGR-SFT.json and STGR-RL.json
records         clips -> STGR records, with questions by template

`FORMATS` says what can be read and written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openo3.conversion import coco_video, cvat, label_studio, stgr_file, via
from openo3.conversion.media import MediaFolder
from openo3.conversion.tracks import Clip, ConversionError

__all__ = ["FORMATS", "Clip", "ConversionError", "Format", "MediaFolder"]


@dataclass(frozen=True)
class Format:
    """`read(file, media, notes)` gives the clips of a file; `write(file, clips, notes)` writes some and gives
    the files that it wrote. Both count in `notes` what is left out or changed. They raise
    `ConversionError`."""

    title: str
    read: Callable[[Path, MediaFolder, Counter[str]], list[Clip]]
    write: Callable[[Path, Sequence[Clip], Counter[str]], list[Path]] | None = None


FORMATS = {
    "coco-video": Format("COCO with videos (TAO, CocoVID, YouTube-VIS)", coco_video.read, coco_video.write),
    "cvat": Format("CVAT for video 1.1", cvat.read, cvat.write),
    "label-studio": Format("Label Studio JSON", label_studio.read, label_studio.write),
    "via": Format("VGG Image Annotator 2 and 3", via.read),
    "stgr": Format("STGR-SFT.json, STGR-RL.json", stgr_file.read),
}
"""By the name that `--from` and `--to` take. Records are written by `records.rows`."""
