"""A clip as every browser plays it: as it is where that is possible, else converted by ffmpeg.

embedded(Path("clip.avi"), probe("clip.avi"))
-> {"url": "data:video/mp4;base64,…", "kind": "video", "size": [320, 240], "duration_s": 9.6}
"""

from __future__ import annotations

import base64
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from openo3.media.container import OPEN_OPTIONS, TOO_SLOW, MediaError, cut_off
from openo3.media.ffmpeg import binary
from openo3.media.image import open_image, to_jpeg
from openo3.media.probe import Media, decoding_limit_s

MAX_BYTES = 24 << 20
"""Browsers take data: addresses of this size, a third larger as base64, without delay."""

MAX_SIDE, SMALL_SIDE = 1920, 480
IMAGE_SIDE, IMAGE_QUALITY = 1600, 90
TIME_LIMIT_S = 180.0

_PLAYED = {"mp4": ("h264", "av1"), "webm": ("vp8", "vp9", "av1")}  # by Chromium and Firefox
_PICTURES = ("yuv420p", "yuvj420p")
_FIRST_FRAME_AT_0 = ("mpegts", "mpeg", "ogg")
"""Where the ffmpeg command counts times from the first mapped stream instead of the start of the file."""


class TooLarge(ValueError):
    """The clip does not fit into a page."""


class Played(NamedTuple):
    """A clip's bytes and their media type."""

    content: bytes
    type: str


def embedded(path: Path, media: Media, *, small: bool = False, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The player's `media`, the clip as a data: address; see `playable`.

    Raises:
        MediaError: the clip cannot be converted.
        TooLarge: it has more than `max_bytes`.
    """
    content, kind = playable(path, media, small=small, max_bytes=max_bytes)
    return described(media, f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}")


def described(media: Media, url: str) -> dict[str, Any]:
    """The player's `media` for a clip that is found at `url`."""
    return {"url": url, "kind": media.kind, "size": list(media.size), "duration_s": media.duration_s}


def playable(path: Path, media: Media, *, small: bool = False, max_bytes: int = MAX_BYTES) -> Played:
    """The clip for a browser: on the same time line, upright, with its sound.

    Pictures become JPEG of at most `IMAGE_SIDE` pixels a side. Videos that browsers do not all play become
    H.264 of at most `MAX_SIDE` pixels; with `small` every video does, of at most `SMALL_SIDE`.

    Raises:
        MediaError: ffmpeg cannot convert it, or needs longer than `TIME_LIMIT_S` for 10,000 frames.
        TooLarge: it has more than `max_bytes`.
    """
    if media.kind == "image":
        size = within(media.size, SMALL_SIDE if small else IMAGE_SIDE)
        return Played(to_jpeg(open_image(path, size), IMAGE_QUALITY), "image/jpeg")
    container = None if small else browser_container(media)
    if container:
        if (size := path.stat().st_size) > max_bytes:
            raise TooLarge(f"{path.name}: {megabytes(size)}, a page holds {megabytes(max_bytes)}")
        return Played(path.read_bytes(), f"video/{container}")
    with tempfile.TemporaryDirectory(prefix="openo3-") as folder:
        copy = Path(folder) / "clip.mp4"
        _convert(path, copy, media, SMALL_SIDE if small else MAX_SIDE, max_bytes)
        return Played(copy.read_bytes(), "video/mp4")


def within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """`(W, H)` of the same shape with sides of at most `side`, never larger than `size`.

    >>> within((1920, 1080), 480), within((64, 48), 480)
    ((480, 270), (64, 48))
    """
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def browser_container(media: Media) -> str | None:
    """`mp4` or `webm` if browsers play the video as it is, with seeking; None if it must be converted."""
    if media.turned or not media.length_declared or media.pixel_format not in _PICTURES:
        return None
    names = media.container.split(",")
    return next((name for name, codecs in _PLAYED.items() if name in names and media.codec in codecs), None)


def _convert(path: Path, copy: Path, media: Media, side: int, max_bytes: int) -> None:
    """Writes H.264 with sides of at most `side`; stops soon after `max_bytes`."""
    size = ":".join(str(max(2, length // 2 * 2)) for length in within(media.size, side))
    # where ffmpeg would show the first frame at 0; such clips fall silent
    later_s = media.times_s[0] if media.times_s and media.container in _FIRST_FRAME_AT_0 else 0.0
    still = f"tpad=start_mode=clone:start_duration={later_s}," if later_s > 0 else ""
    options = [part for name, value in OPEN_OPTIONS.items() for part in (f"-{name}", value)]
    command = [binary(), "-hide_banner", "-nostdin", "-xerror", *options, "-i", f"file:{path.absolute()}"]
    command += ["-map", "0:V:0", *([] if later_s else ["-map", "0:a:0?"]), "-vf", f"{still}scale={size}"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p"]
    command += ["-c:a", "aac", "-ac", "2", "-b:a", "96k", "-map_metadata", "-1"]
    command += ["-movflags", "+faststart", "-fs", str(max_bytes + 1), "-f", "mp4", str(copy)]
    limit_s = decoding_limit_s(media, TIME_LIMIT_S)
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise MediaError(TOO_SLOW, f"no copy for browsers within {limit_s:g} s") from None
    if done.returncode or not copy.is_file():
        raise MediaError("damaged", cut_off(path) or "it cannot be converted for browsers")
    if copy.stat().st_size > max_bytes * 0.98:  # ffmpeg stops just below the size that it is given
        raise TooLarge(f"{path.name}: more than {megabytes(max_bytes)} as H.264, a page holds no more")


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
