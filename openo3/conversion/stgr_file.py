"""STGR-SFT.json and STGR-RL.json as clips, so that other tools can show and change their boxes.

A record about a video has a track for each object, whose key frames are single moments. One about an image
has the box of its answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from openo3.annotations import rows, stgr
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.conversion.media import MediaFolder
from openo3.conversion.tracks import (
    UNKNOWN,
    Clip,
    ConversionError,
    Key,
    Track,
    check_size,
    in_frame,
    object_name,
    place,
)
from openo3.core.evidence import parse_claims
from openo3.core.geometry import pixels
from openo3.core.schema import KeyFrame, Task


def read(file: Path, media: MediaFolder, notes: Counter[str]) -> list[Clip]:
    """A clip for each record.

    Raises `ConversionError` for a file that is no list, and for the first record that cannot be used.
    """
    check_size(file)
    try:
        return [_clip(file, number, raw, media, notes) for number, raw in enumerate(rows.read_rows(file))]
    except AnnotationError as error:
        raise ConversionError(str(error)) from None


def _clip(file: Path, number: int, raw: Any, media: MediaFolder, notes: Counter[str]) -> Clip:
    with place(file, f"row {number}"):
        raw = _storable(rows.record(raw))
        task = stgr.task(raw)
        if task is Task.VISUAL:
            size = stgr.image_size(raw)
            medium = media.image([rows.text(raw, "image_path")], size)
            return Clip(
                medium.path, medium.size, None, _of_answer(raw, size or medium.size, notes), record=raw
            )
        frames, items = stgr.key_frames(raw), stgr.key_items(raw)
        medium = media.video([rows.text(raw, "video_path")], UNKNOWN)
        assert medium.timeline is not None
        tracks: dict[tuple[str, int], dict[int, Key]] = {}
        for frame in frames:
            shown = medium.timeline.frame(frame.time_s)
            for name, boxes in items.get(frame.idx, {}).items():
                for place_, box in enumerate(boxes):
                    if (inside := in_frame(box, (1, 1), notes)) is not None:
                        _put(tracks, (object_name(name, "key_items"), place_), shown, frame, inside, notes)
        found = tuple(
            Track(name, tuple(sorted(keys.values(), key=lambda key: key.frame)))
            for (name, _), keys in tracks.items()
        )
        return Clip(medium.path, medium.size, medium.timeline, found, record=raw)


def _storable(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record, if JSON of other tools can carry it. Raises `RowError`."""
    try:
        orjson.dumps(raw)
    except TypeError as error:
        raise RowError(Reason.NOT_TEXT, "row", str(error)) from None
    return raw


def _put(
    tracks: dict[tuple[str, int], dict[int, Key]],
    one: tuple[str, int],
    shown: int,
    frame: KeyFrame,
    box: tuple[float, float, float, float],
    notes: Counter[str],
) -> None:
    keys = tracks.setdefault(one, {})
    if shown in keys:
        notes["boxes at the same frame as another of that object, left out"] += 1
    else:
        keys[shown] = Key(shown, frame.time_s, box)


def _of_answer(raw: Mapping[str, Any], size: tuple[int, int], notes: Counter[str]) -> tuple[Track, ...]:
    """The objects of an image record's answer, whose boxes are pixels of `image_size`."""
    try:
        claims = parse_claims(rows.text(raw, "answer"), pixels(size))
    except RowError:
        return ()
    found = []
    for claim in claims:
        for box in claim.boxes:
            if (inside := in_frame(box, (1, 1), notes)) is not None:
                found.append(Track(object_name(claim.name, "answer"), (Key(0, 0.0, inside),)))
    return tuple(found)
