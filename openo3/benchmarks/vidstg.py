"""VidSTG: when and where in a home video a described or asked-for object is seen.

The published sentences (`test_annotations.json`) are a list; the boxes are those of VidOR, one file for each
video (`validation/*/VIDEO.json`). All lie in one folder, in subfolders or not:

    [{"vid": "7771650716", "fps": 29.97, "frame_count": 1805, "width": 640, "height": 360,
      "used_segment": {"begin_fid": 0, "end_fid": 479}, "temporal_gt": {"begin_fid": 0, "end_fid": 390},
      "captions": [{"description": "a dog with a rope walks ...", "type": "object", "target_id": 0}],
      "questions": [{"description": "what walks in front of ...", "type": "object", "target_id": 0}]}, ...]
    {"video_id": "7771650716", "trajectories": [[{"tid": 0, "bbox": {"xmin": 1, "ymin": 2, "xmax": 9,
      "ymax": 8}}, ...], ...], ...}

Each sentence is a record; the published tables have `declarative` and `interrogative` ones apart. A record is
about the segment of the video that its sentence was written for: only that is shown, and times are relative
to its start. Of the boxes, five a second are compared, as the published evaluators do. `parse` gives the
record that `openo3.benchmarks.tubes` describes, with its `segment` and the name of its `frames`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

from openo3.annotations import rows as fields
from openo3.annotations import sources
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.annotations.sources import Reference
from openo3.benchmarks import tubes
from openo3.benchmarks.base import Fitted, Record
from openo3.benchmarks.tubes import checked, tube_benchmark

COMPARED_FPS = 5
_FORMS = {"captions": "declarative", "questions": "interrogative"}
_TRACKS = re.compile(r"(?:.*-)?([0-9]+)\.json")
_MAX_FRAMES = 1_000_000

Tracks = list[dict[Any, Any]]
"""For each frame of a video the boxes by the number of their object."""


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The sentences of a folder, each with the boxes of its object, by frame; or those of a single file,
    without.

    Raises `AnnotationError` for a file that is no JSON of the published form.
    """
    path = Path(path)
    parts = sorted(part for part in path.rglob("*.json") if part.is_file()) if path.is_dir() else [path]
    files = {found[1]: part for part in parts if (found := _TRACKS.fullmatch(part.name))}
    tracks = lru_cache(8)(lambda vid: _tracks(files[vid]) if vid in files else [])
    for part in parts:
        if not _TRACKS.fullmatch(part.name):
            for index, raw in enumerate(fields.read_rows(part)):
                yield from _sentences(index, raw, tracks)


def _sentences(index: int, raw: Any, tracks: Callable[[str], Tracks]) -> Iterator[Any]:
    if not isinstance(raw, dict):
        yield raw
        return
    common = {name: value for name, value in raw.items() if name not in _FORMS}
    for name, form in _FORMS.items():
        for number, sentence in enumerate(raw[name] if isinstance(raw.get(name), list) else []):
            said = sentence if isinstance(sentence, dict) else {}
            target = said.get("target_id")
            found = tracks(str(raw.get("vid"))) if isinstance(target, int) else []
            yield {
                **common,
                "id": f"{index}/{form}/{number}",
                "description": said.get("description"),
                "target_id": target,
                "group": form,
                "boxes": [frame.get(target) for frame in found],
            }


def _tracks(path: Path) -> Tracks:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        return [{each["tid"]: each["bbox"] for each in frame} for frame in found["trajectories"]]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        problem = error if isinstance(error, OSError | ValueError) else "not the boxes of a video of VidOR"
        raise AnnotationError(f"{path}: {problem}") from None


def references(raw: Any) -> list[Reference]:
    """The record's video."""
    return sources.video("vidstg", raw, "vid")


def parse(raw: Any) -> Record:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type."""
    [video] = references(raw)
    fps = fields.number(raw.get("fps"), "fps")
    if fps <= 0:
        raise RowError(Reason.WRONG_TYPE, "fps", f"expected more than 0, found {fps:g}")
    begin, end = _frames(raw, "used_segment")
    first, last = _frames(raw, "temporal_gt")
    listed = fields.listed(raw.get("boxes"), "boxes")
    if not any(listed):
        detail = (
            f"VidOR's file {fields.identifier(raw, 'vid')}.json, with the boxes of the object, is not there"
        )
        raise RowError(Reason.FIELD_MISSING, "boxes", detail)
    step = max(1, round(fps / COMPARED_FPS))
    start = ceil((first - begin) / step)
    compared = range(begin + start * step, last, step)
    record: Record = {
        "id": fields.identifier(raw),
        "vid": fields.identifier(raw, "vid"),
        "question": fields.text(raw, "description").strip(),
        "group": fields.text(raw, "group"),
        "width": fields.number(raw.get("width"), "width"),
        "height": fields.number(raw.get("height"), "height"),
        "tube": {
            "fps": fps / step,
            "first": start,
            "boxes": [_box(listed[at] if at < len(listed) else None, at) for at in compared],
        },
        "media": video.media,
    }
    if begin > 0 or end < fields.number(raw.get("frame_count"), "frame_count") - 1:
        segment = [begin / fps, (end + 1) / fps]
        record["segment"] = segment
        record["frames"] = f"{video.media}#t={segment[0]:.3f},{segment[1]:.3f}"
    return checked(record)


def _frames(raw: Mapping[str, Any], field: str) -> tuple[int, int]:
    pair = fields.mapping(raw.get(field), field)
    first, last = (fields.integer(pair.get(name), f"{field}.{name}") for name in ("begin_fid", "end_fid"))
    if not 0 <= first < last <= _MAX_FRAMES:
        raise RowError(Reason.SPAN_EMPTY, field, f"{first} to {last}")
    return first, last


def _box(box: Any, frame: int) -> list[float] | None:
    if box is None:
        return None
    sides = fields.mapping(box, f"boxes[{frame}]")
    return [
        fields.number(sides.get(side), f"boxes[{frame}].{side}") for side in ("xmin", "ymin", "xmax", "ymax")
    ]


def fit(record: Record, size: tuple[int, int] | None, tolerance_s: float) -> Fitted:
    """The record with the length of what is shown of its video as `duration_s`; see `tubes.fit`."""
    if "segment" in record:
        start, end = record["segment"]
        record = {**record, "duration_s": max(min(end, record["duration_s"]) - start, 0.0)}
    return tubes.fit(record, size, tolerance_s)


VIDSTG = tube_benchmark(
    "vidstg",
    "VidSTG",
    "VidSTG/",
    rows=rows,
    references=references,
    parse=parse,
    fit=fit,
    media_field="vid",
    groups=tuple(_FORMS.values()),
)
