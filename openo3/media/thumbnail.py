"""Small pictures of untrusted files for a page, also of files that are damaged after their first frame.

    thumbnails([Moment(Path("a.mp4"), 2.5), Moment(Path("noise.mp4"))])
    -> {Moment(Path("a.mp4"), 2.5): Thumbnail(jpeg=b"...", time_s=2.483)}

A file without any picture is left out. Each is decoded in a process of its own, which it may crash or hang.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile

from openo3.media.container import MediaError
from openo3.media.decode import Key, SamplingConfig, sample
from openo3.media.image import fit_size, open_image, to_jpeg
from openo3.media.isolated import Processes
from openo3.media.probe import IMAGE_FORMATS
from openo3.media.reader import opened, orientation

PIXELS = 240 * 180
LIMIT_S, ALL_LIMIT_S = 10.0, 30.0
"""Seconds for one picture, and for all of one call; what takes longer has none."""

_AT_ONCE = 2
_QUALITY = 90


@dataclass(frozen=True)
class Moment:
    """What is on the screen at `time_s` seconds of a video; of an image, the image."""

    path: Path
    time_s: float = 0.0


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG of about `PIXELS`, of the frame at `time_s`.

    `instead` says what is shown of a damaged file; it is empty for others.
    """

    jpeg: bytes
    time_s: float
    instead: str = ""

    def image(self) -> Image.Image:
        """The decoded picture."""
        return Image.open(io.BytesIO(self.jpeg), formats=("JPEG",))


def thumbnails(moments: Iterable[Moment]) -> dict[Moment, Thumbnail]:
    """The pictures that there are, decoded two at a time, within `ALL_LIMIT_S`."""
    wanted = list(dict.fromkeys(moments))
    end = time.monotonic() + ALL_LIMIT_S
    processes = Processes()

    def seen(moment: Moment) -> Thumbnail | MediaError | None:
        left_s = min(LIMIT_S, end - time.monotonic())
        return processes.call(thumbnail, moment, left_s) if left_s > 0 else None

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(seen, wanted))
    finally:
        processes.stop()
    pairs = zip(wanted, found, strict=True)
    return {moment: picture for moment, picture in pairs if isinstance(picture, Thumbnail)}


def thumbnail(moment: Moment) -> Thumbnail:
    """One picture, decoded in this process. Raises `MediaError`."""
    policy = SamplingConfig(fps=1.0, min_frames=1, max_frames=1, max_pixels=PIXELS, multiple=1)
    try:
        shots = sample(moment.path, [Key(moment.time_s)], policy, LIMIT_S).shots
    except MediaError as error:
        match error.reason:
            case "damaged" | "no frames":
                return _first_frame(moment.path)
            case "unreadable":
                return _truncated_image(moment.path)
        raise
    shot = next((shot for shot in shots if shot.key), shots[0])
    return Thumbnail(to_jpeg(shot.image, _QUALITY), shot.time_s)


def _first_frame(path: Path) -> Thumbnail:
    with opened(path, LIMIT_S) as video:
        for time_s, frame in video.frames():
            size = fit_size(*orientation(frame).apply((frame.width, frame.height)), PIXELS, 1)
            return Thumbnail(to_jpeg(video.picture(frame, size), _QUALITY), time_s, "the first frame")
    raise MediaError("no frames")


def _truncated_image(path: Path) -> Thumbnail:
    """The rows that are there; the others are grey."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            width, height = image.size
            if image.getexif().get(0x0112) in (5, 6, 7, 8):  # lying on its side
                width, height = height, width
        picture = open_image(path, fit_size(width, height, PIXELS, 1))
        return Thumbnail(to_jpeg(picture, _QUALITY), 0.0, "the rows that are there")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError("unreadable", str(error)) from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
