"""What a media file is, found out without decoding a video.

    probe("clip.mp4") -> Media(kind="video", size=(640, 360), duration_s=9.6, fps=30.0, times_s=(0.0, ...))

ffmpeg lists the packets of the first video stream (`-c copy -f framecrc`). This takes ten milliseconds and
gives the exact presentation time of every frame on a player's time line: 0 is where the earliest stream of
the file starts. A broken file raises `MediaError` within the time limit.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from openo3.media.container import complaint, encrypted, input_options, unsupported
from openo3.media.ffmpeg import binary

TIME_LIMIT_S = 60.0
TOO_SLOW = "too slow"
"""The reason of a `MediaError` that may be the machine's fault rather than the file's."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_ANIMATED_FORMATS = ("PNG", "WEBP", "GIF")  # others with several pictures (MPO, TIFF) are still images
MAX_PIXELS = 1 << 26
"""Larger pictures than 8192 x 8192 are refused: a damaged header may claim any size."""

_FRAMES_PER_LIMIT = 10_000  # time limits hold for videos of up to so many frames, and grow with longer ones
_BYTES_PER_LIMIT = 1 << 30
_END_TOLERANCE_S = 0.1  # declared lengths are approximate

_KEY, _DISCARDED = 0x1, 0x4  # packet flags of libavcodec
_IDR = 5  # H.264 NAL unit type: the decoder forgets everything before it


class MediaError(Exception):
    """A file that gives no frames: `reason` is one of a few words to count by, `detail` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Media:
    """A video's or a still image's facts.

    `size` is `(W, H)` in source pixels as shown, rotation applied, pixels taken as square. `times_s` are the
    presentation times in seconds of all frames in order; they are empty if only decoding tells them.
    `duration_s` is the end of the last frame whatever the sound does. Both are empty for an image.
    `frames` is the number of packets, about that of frames.

    `independent_gops`: a decoder that starts at any key frame shows every later frame right (closed groups of
    pictures, no trimmed frames, no display matrix, in a container with an index).

    The clock of ffmpeg's filters may start elsewhere: `clock_offset_s` is added to its times. For containers
    without presentation times, `first_time_s` is the time of the first frame instead.
    """

    kind: Literal["video", "image"]
    size: tuple[int, int]
    duration_s: float | None = None
    fps: float | None = None
    times_s: tuple[float, ...] = ()
    codec: str = ""
    independent_gops: bool = False
    frames: int = 1
    clock_offset_s: float = 0.0
    first_time_s: float | None = None


def decoding_limit_s(media: Media, time_limit_s: float) -> float:
    """The time limit for decoding: `time_limit_s` for up to 10,000 frames, in proportion for more."""
    return time_limit_s * max(1.0, media.frames / _FRAMES_PER_LIMIT)


def probe(path: str | os.PathLike[str], time_limit_s: float = TIME_LIMIT_S) -> Media:
    """Inspect the file's content; its name does not matter.

    `time_limit_s` holds for up to 1 GiB, larger files get more in proportion. Raises `MediaError` with the
    reasons `missing`, `empty`, `unreadable`, `no video`, `no frames`, `damaged` (also cut off), `encrypted`,
    `too large` or `too slow`.
    """
    file = Path(path)
    if not file.is_file():
        raise MediaError("missing")
    size = file.stat().st_size
    if size == 0:
        raise MediaError("empty")
    if why := unsupported(file):
        raise MediaError("unreadable", why)
    return _probe_image(file) or _probe_video(file, time_limit_s * max(1.0, size / _BYTES_PER_LIMIT))


def _probe_image(path: Path) -> Media | None:
    """None if the file is no still image: videos, and animations, which count as videos."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.format in _ANIMATED_FORMATS and getattr(image, "n_frames", 1) > 1:
                return None
            width, height = image.size
            _check_size(width, height)
            turned = image.getexif().get(0x0112, 1) >= 5  # orientations 5-8 swap the sides
            image.draft("RGB", (1, 1))  # an eighth of the size is enough to notice a truncated JPEG
            image.load()
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise MediaError("too large", str(error)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError("unreadable", str(error)) from None
    return Media("image", (height, width) if turned else (width, height))


def _probe_video(path: Path, time_limit_s: float) -> Media:
    listing, log = _packets(path, time_limit_s)
    header = dict(re.findall(r"^#(\w+) 0: +(.*)$", listing, re.MULTILINE))
    if encrypted(path):
        raise MediaError("encrypted", "copy-protected, so it cannot be decoded")
    if "dimensions" not in header:
        raise MediaError("unreadable", "no frame size")
    width, height = map(int, header["dimensions"].split("x"))
    _check_size(width, height)
    packets = [_Packet.read(line) for line in listing.splitlines() if line.startswith("0,")]
    if not packets:
        raise MediaError("no frames")
    clock, offset_s = _seconds(header["tb"]), _clock_offset_s(log)
    kept = [packet for packet in packets if not packet.flags & _DISCARDED]
    untimed = any(packet.pts is None for packet in packets)
    timeless = packets[0].pts is None  # such as AVI, which stores the order of decoding alone
    delay = 0 if packets[0].pts is None else packets[0].pts - packets[0].dts
    starts = sorted((p.dts + delay if untimed or p.pts is None else p.pts, p.ticks) for p in kept)
    ticks = sorted({start for start, _ in starts})
    if not ticks:
        raise MediaError("no frames")
    times = [round(start * clock + offset_s, 6) for start in ticks]
    # The demuxer rewrites times next to trimmed frames, and packets at one time are not one frame each.
    trusted = not untimed and len(kept) == len(packets) and len(ticks) == len(kept)
    shown = tuple(time_s for time_s in times if time_s >= 0)  # what starts before 0 is not shown
    span = ticks[-1] - ticks[0]
    last = starts[-1][1] or (span / (len(ticks) - 1) if span else 0)
    end_s = round((ticks[-1] + last) * clock + offset_s, 6)
    _check_end(log, end_s, 2 * last * clock)
    matrix = re.search(r"[Dd]isplay ?[Mm]atrix: rotation of (\S+) degrees", log)
    if matrix and abs(abs(float(matrix[1])) % 180 - 90) < 1:
        width, height = height, width
    idr = {line.split(",")[1] for line in listing.splitlines() if line.startswith("1,")}
    return Media(
        "video",
        (width, height),
        end_s if end_s > 0 else None,
        len(ticks) / ((span + last) * clock) if span + last else None,
        shown if trusted else (),
        header.get("codec_id", ""),
        independent_gops=trusted
        and not matrix
        and len(shown) == len(packets)
        and re.search(r"^Input #0, (mov|matroska),", log, re.MULTILINE) is not None
        and _closed(packets, header.get("codec_id", ""), {int(dts) for dts in idr}),
        frames=len(packets),
        clock_offset_s=offset_s,
        first_time_s=times[0] if timeless else None,
    )


@dataclass(frozen=True, order=True)
class _Packet:
    """One line of ffmpeg's packet list: `stream, dts, pts, duration, size, checksum[, F=flags]...`."""

    pts: int | None  # presentation time in ticks
    dts: int
    ticks: int  # how long it is shown
    flags: int

    @classmethod
    def read(cls, line: str) -> _Packet:
        _, dts, pts, ticks, *rest = (part.strip() for part in line.split(","))
        flags = next((int(part[2:], 16) for part in rest if part.startswith("F=")), _KEY)
        return cls(int(pts) if int(pts) > -(1 << 62) else None, int(dts), int(ticks), flags)


def _packets(path: Path, time_limit_s: float) -> tuple[str, str]:
    """ffmpeg's packet list and its log; as stream 1 of the list the same packets cut down to IDR units."""
    listed = ["-map", "0:V:0", "-c", "copy", "-copyinkf"]
    both = ["-map", "0:V:0", *listed, "-bsf:v:1", f"filter_units=pass_types={_IDR}"]
    for output in (both, listed):
        code, listing, log = _run(path, output, time_limit_s)
        if "is not supported by the bitstream filter" not in log:
            break
    if code and "Stream #" in log and listing.count("\n0,"):
        raise MediaError("damaged", complaint(log, path))
    if code and ("matches no streams" in log or ("Stream #" in log and "Video: " not in log)):
        raise MediaError("no video", "audio or data only")
    if code:
        raise MediaError("unreadable", complaint(log, path))
    return listing, log


def _run(path: Path, output: Sequence[str], time_limit_s: float) -> tuple[int, str, str]:
    command = [
        binary(),
        "-hide_banner",
        "-nostdin",
        *input_options(path),
        *output,
        "-f",
        "framecrc",
        "pipe:1",
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=time_limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise MediaError(TOO_SLOW, f"no packet list within {time_limit_s:g} s") from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def _clock_offset_s(log: str) -> float:
    """By how much the first video stream starts after the file, in the formats where ffmpeg drops that.

    ffmpeg counts the times of MPEG transport and program streams and of Ogg from the first mapped stream.
    """
    stream = re.search(r"Stream #0:(\d+) -> #0:0", log)
    file_start = re.search(r"^  Duration: .*start: ([\d.-]+)", log, re.MULTILINE)
    if not stream or not file_start or not re.search(r"^Input #0, (mpeg|mpegts|ogg),", log, re.MULTILINE):
        return 0.0
    start = re.search(rf"^  Stream #0:{stream[1]}\D.*, start ([\d.-]+)", log, re.MULTILINE)
    return float(start[1]) - float(file_start[1]) if start else 0.0


def _check_end(log: str, end_s: float, slack_s: float) -> None:
    """Raises `MediaError` for a file that ends before the length that its header declares.

    A stray byte at the end of a complete file does no harm; nor does an end at any place to a recording
    without a declared length.
    """
    if "ended prematurely" not in log:
        return
    stream = re.search(r"Stream #0:(\d+) -> #0:0", log)
    tag = stream and re.search(
        rf"^  Stream #0:{stream[1]}\D(?:(?!^  Stream).)*?DURATION +: (\d+):(\d+):([\d.]+)",
        log,
        re.MULTILINE | re.DOTALL,
    )
    declared = tag or re.search(r"^  Duration: (\d+):(\d+):([\d.]+)", log, re.MULTILINE)
    if declared:
        hours, minutes, seconds = map(float, declared.groups())
        length_s = hours * 3600 + minutes * 60 + seconds
        if end_s < length_s - slack_s - _END_TOLERANCE_S:
            raise MediaError("damaged", f"cut off: it ends at {end_s:g} s of {length_s:g} s")


def _closed(packets: Sequence[_Packet], codec: str, idr_dts: set[int]) -> bool:
    """True if no frame needs a frame from before the last key frame.

    Frames that follow a key frame in the file but precede it on the screen belong to an open group, and
    an H.264 key frame that is not IDR only starts a recovery (one of HEVC is clean unless frames precede it).
    Other codecs than these are not trusted.
    """
    keys = {packet.dts for packet in packets if packet.flags & _KEY}
    if codec not in ("h264", "hevc", "vp8", "vp9") or packets[0].dts not in keys:
        return False
    if codec == "h264" and keys != idr_dts:
        return False
    key_pts = 0
    for packet in packets:
        if packet.pts is None:
            return False
        key_pts = packet.pts if packet.dts in keys else key_pts
        if packet.pts < key_pts:
            return False
    return True


def _seconds(time_base: str) -> float:
    numerator, denominator = map(int, time_base.split("/"))
    return numerator / denominator


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise MediaError("unreadable", f"frame size {width}x{height}")
    if width * height > MAX_PIXELS:
        raise MediaError("too large", f"{width}x{height} pixels")
