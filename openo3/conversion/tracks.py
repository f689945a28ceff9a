"""What every format is read into and written from: clips with tracks of boxes.

    Clip("clip.mp4", size=(320, 180), timeline=Timeline((0.0, 0.04, ...), 0.04), tracks=(
        Track("ball", (Key(0, 0.0, (0.1, 0.2, 0.3, 0.4), continues=True), Key(50, 2.0, ...)),
    ))

Frames are counted from 0, times are in seconds from the start of the video, boxes normalised 0-1 of the
frame.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from openo3.annotations import rows
from openo3.annotations.rejections import Reason, RowError
from openo3.core.schema import Box

MAX_BYTES = 1 << 30
"""Of an annotation file, which is held in memory."""

MAX_KEYS = 5_000_000
"""Boxes of one file; the largest published sets of tracks have fewer."""

LONGEST_S = 1e6
"""Eleven days. A later frame of a video that is not there is a mistake."""

_SHOWN_TWICE_S = 1e-3


class ConversionError(ValueError):
    """A file cannot be converted; the message is one line that names the file, the place and the field."""


@contextmanager
def place(file: Path, *where: object) -> Iterator[None]:
    """Turn the `RowError` of a value into a `ConversionError` that names the file and the place in it."""
    try:
        yield
    except RowError as error:
        words = ": ".join([str(file), *(str(part) for part in where)])
        raise ConversionError(f"{words}: {error}") from None


@dataclass(frozen=True)
class Timeline:
    """When each frame of a video is shown: its true times, or `i * step_s` where there are none."""

    times_s: tuple[float, ...]
    step_s: float
    end_s: float | None = None

    @property
    def frames(self) -> int | None:
        """How many frames there are, None if that is not known."""
        return len(self.times_s) or None

    def time_s(self, frame: int) -> float:
        """When the frame is shown; the end of the video for the one after its last. Raises `RowError`."""
        if frame < 0 or (self.times_s and frame > len(self.times_s)):
            known = f" of {len(self.times_s)}" if self.times_s else ""
            raise RowError(
                Reason.KEY_TIME, "frame", f"frame {frame}{known}; is this the video that was annotated?"
            )
        if not self.times_s:
            if not frame * self.step_s <= LONGEST_S:
                raise RowError(Reason.KEY_TIME, "frame", f"frame {frame}, each {self.step_s:g} s long")
            return round(frame * self.step_s, 6)
        return self.times_s[frame] if frame < len(self.times_s) else (self.end_s or self.times_s[-1])

    def frame(self, time_s: float) -> int:
        """The number of the frame that is shown at a time."""
        if not self.times_s:
            return max(0, math.floor((time_s + _SHOWN_TWICE_S) / self.step_s))
        return max(0, bisect_right(self.times_s, time_s + _SHOWN_TWICE_S) - 1)


@dataclass(frozen=True)
class Key:
    """The box of an object at a frame.

    `shown`: the object is in view there. `continues`: it stays in view up to the next key, on a straight line
    between the two boxes. `drawn`: by a person or model, and not by the tool in between.
    """

    frame: int
    time_s: float
    box: Box
    shown: bool = True
    continues: bool = False
    drawn: bool = True


@dataclass(frozen=True)
class Track:
    """One object in one clip: its keys in order, at most one at a frame."""

    name: str
    keys: tuple[Key, ...]

    @cached_property
    def _frames(self) -> list[int]:
        return [key.frame for key in self.keys]

    def at(self, frame: int) -> Box | None:
        """The object's box at a frame, None where it is out of view."""
        place = bisect_right(self._frames, frame) - 1
        if place < 0:
            return None
        key = self.keys[place]
        if key.frame == frame:
            return key.box if key.shown else None
        if not key.continues:
            return None
        if place + 1 == len(self.keys):
            return key.box
        after = self.keys[place + 1]
        share = (frame - key.frame) / (after.frame - key.frame)
        x1, y1, x2, y2 = (a + (b - a) * share for a, b in zip(key.box, after.box, strict=True))
        return x1, y1, x2, y2


@dataclass(frozen=True)
class NamedSpan:
    """What a tool says about a part of a video, in seconds."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Clip:
    """A video, or an image if it has no `timeline`. `path` is relative to the folder of the media.

    `size` is `(W, H)` in pixels. `record` has the fields of an STGR record that the file gives or that the
    tool carried along: of a file without questions none.
    """

    path: str
    size: tuple[int, int]
    timeline: Timeline | None
    tracks: tuple[Track, ...] = ()
    spans: tuple[NamedSpan, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_image(self) -> bool:
        return self.timeline is None


UNKNOWN = (0, 0)
"""The size of a video that is not there, of formats whose boxes are shares of the frame."""


def known_size(clip: Clip) -> tuple[int, int]:
    """The size of a clip, for formats whose boxes are pixels. Raises `ConversionError` if it is not known."""
    if clip.size == UNKNOWN:
        raise ConversionError(
            f"{clip.path}: its size is not known, and boxes are pixels there; name the folder of the videos "
            "with --media"
        )
    return clip.size


def read_json(file: Path) -> Any:
    """The value of a JSON file. Raises `ConversionError`."""
    check_size(file)
    try:
        return json.loads(file.read_text(encoding="utf-8-sig", errors="surrogateescape"))
    except OSError as error:
        raise ConversionError(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{file}: not JSON: {error}") from None


def check_size(file: Path) -> None:
    """Raises `ConversionError` for a file that is missing or too large."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise ConversionError(f"{file}: {error.strerror}") from None
    if not file.is_file():
        raise ConversionError(f"{file}: is no file")
    if size > MAX_BYTES:
        raise ConversionError(
            f"{file}: has {size / 1e9:.1f} GB, at most {MAX_BYTES / 1e9:.1f} are read; split it"
        )


def object_name(value: Any, field: str) -> str:
    """The name of an object as claims can cite it. Raises `RowError`."""
    if value is None or value == "":
        raise RowError(Reason.FIELD_MISSING, field, "the name of the object")
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, field, f"expected a name, found {rows.shown(value)}")
    name = " ".join(rows.check_text(value, field).split())
    if not name or any(letter in "<>" or not letter.isprintable() for letter in name):
        raise RowError(Reason.WRONG_TYPE, field, f"{rows.shown(value)} cannot name an object in <obj>…</obj>")
    return name


def in_frame(
    corners: Sequence[float], size: tuple[float, float], notes: Counter[str], field: str = "box"
) -> Box | None:
    """Corners in units of which `size` is the frame, normalised and clipped to the frame; None if nothing is
    left.

    Corners in the wrong order are put right, as tools do that let a box be drawn from any corner.
    """
    x1, x2 = sorted((corners[0] / size[0], corners[2] / size[0]))
    y1, y2 = sorted((corners[1] / size[1], corners[3] / size[1]))
    inside = tuple(round(min(max(side, 0.0), 1.0), 6) for side in (x1, y1, x2, y2))
    left, top, right, bottom = inside
    if left >= right or top >= bottom:
        notes["boxes without area in the frame, left out"] += 1
        return None
    if min(x1, y1) < -1e-6 or max(x2, y2) > 1 + 1e-6:
        notes["boxes clipped to the frame"] += 1
    return left, top, right, bottom


def hull(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """The smallest upright box around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def turned(
    corners: tuple[float, float, float, float], degrees: float, pivot: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The upright box around a box that is turned clockwise about a point, in units of square pixels."""
    if not degrees % 360:
        return corners
    x1, y1, x2, y2 = corners
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    px, py = pivot
    return hull(
        [
            (px + (x - px) * cos - (y - py) * sin, py + (x - px) * sin + (y - py) * cos)
            for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
        ]
    )


def track(name: str, keys: Sequence[Key]) -> Track:
    """A track with its keys in order. Raises `RowError` if two are at one frame."""
    ordered = sorted(keys, key=lambda key: key.frame)
    for before, after in pairwise(ordered):
        if before.frame == after.frame:
            raise RowError(
                Reason.KEY_REPEATED, "frame", f"{rows.shown(name)} has two boxes at frame {after.frame}"
            )
    return Track(name, tuple(ordered))
