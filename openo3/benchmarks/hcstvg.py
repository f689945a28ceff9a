"""HC-STVG: when and where in a 20-second film scene a described person is seen.

The published files of both versions (`test.json` of v1, `val_v2.json` of v2, here `HC-STVG.json`) are an
object of videos. Boxes are `[x, y, width, height]` in pixels, `st_frame` counts from 1, and `img_num` is the
number of frames in 20 seconds:

    {"55_vfjywN5CN0Y.mp4": {"bbox": [[194, 0, 240, 359], ...], "st_frame": 157, "img_num": 480,
                            "st_time": 6.5, "ed_time": 11.95, "caption": "The man in brown clothes ...",
                            "width": 480, "height": 360}}

Version 2 has `English` for `caption`, and `img_size`, height first, for `width` and `height`. `parse` gives
the record that `openo3.benchmarks.tubes` describes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openo3.annotations import rows as fields
from openo3.annotations import sources
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Record
from openo3.benchmarks.tubes import checked, tube_benchmark

SCENE_S = 20
"""The length of every scene in seconds."""


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The videos, each with its name as `video`.

    Raises `AnnotationError` for a file that holds no JSON object of videos.
    """
    for video, facts in fields.read_objects_of_videos(path).items():
        yield {**facts, "video": video}


def references(raw: Any) -> list[Reference]:
    """The record's video, whose name has its suffix."""
    name = fields.text(fields.record(raw), "video")
    return [sources.reference(sources.get("hcstvg"), "videos", name, "video")]


def parse(raw: Any) -> Record:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type."""
    [video] = references(raw)
    width, height = _size(raw)
    boxes = [
        fields.numbers(box, f"bbox[{index}]", 4)
        for index, box in enumerate(fields.listed(raw.get("bbox"), "bbox"))
    ]
    record = {
        "id": raw["video"],
        "video": raw["video"],
        "question": fields.text(raw, "English" if raw.get("English") is not None else "caption").strip(),
        "width": width,
        "height": height,
        "tube": {
            "fps": fields.number(raw.get("img_num"), "img_num") / SCENE_S,
            "first": fields.integer(raw.get("st_frame"), "st_frame") - 1,
            "boxes": [[x, y, x + wide, y + high] for x, y, wide, high in boxes],
        },
        "media": video.media,
    }
    return checked(record)


def _size(raw: Mapping[str, Any]) -> tuple[float, float]:
    if isinstance(size := raw.get("img_size"), list):
        height, width = fields.numbers(size[:2], "img_size", 2)
        return width, height
    return fields.number(raw.get("width"), "width"), fields.number(raw.get("height"), "height")


HCSTVG = tube_benchmark(
    "hcstvg",
    "HC-STVG",
    "HC-STVG.json",
    rows=rows,
    references=references,
    parse=parse,
    media_field="video",
)
