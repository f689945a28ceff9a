"""What a media file is, learnt without decoding it.

    probe("clip.mp4") -> Media(kind="video", size=(640, 360), duration_s=9.6, fps=30.0, times_s=(0.0, ...))

ffmpeg lists the packets of the first video stream (`-c copy -f framecrc`), which costs ten milliseconds and
tells the exact presentation time of every frame, on the time line of a player: 0 is where the earliest
stream of the file starts. A broken file is a `MediaError` within the time limit, never a hang.
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

from openo3.media.ffmpeg import binary

TIME_LIMIT_S = 60.0
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 1 << 26
"""Larger pictures than 8192 x 8192 are refused: a damaged header may claim any size."""

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

    `size` is `(W, H)` in source pixels as shown, rotation applied, pixels taken as square. `times_s` are
    the presentation times in seconds of all frames in order, empty if the container carries none;
    `duration_s` is the end of the last frame, the audio's length does not count. Both are empty for an
    image. `independent_gops`: a decoder that starts at any key frame shows every later frame right
    (closed groups of pictures, no trimmed frames, no display matrix, in a container with an index).
    """

    kind: Literal["video", "image"]
    size: tuple[int, int]
    duration_s: float | None = None
    fps: float | None = None
    times_s: tuple[float, ...] = ()
    codec: str = ""
    independent_gops: bool = False


def probe(path: str | os.PathLike[str], time_limit_s: float = TIME_LIMIT_S) -> Media:
    """Look at the file's content, not at its name.

    Raises `MediaError` with the reasons `missing`, `empty`, `unreadable`, `no video`, `damaged` (also cut
    off), `too large` or `too slow`.
    """
    file = Path(path)
    if not file.is_file():
        raise MediaError("missing")
    if file.stat().st_size == 0:
        raise MediaError("empty")
    return _probe_image(file) or _probe_video(file, time_limit_s)


def _probe_image(path: Path) -> Media | None:
    """None if the file is no still image: videos, and animations, which are videos too."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if getattr(image, "n_frames", 1) > 1:
                return None
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5  # orientations 5-8 swap the sides
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise MediaError("too large", str(error)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError("unreadable", str(error)) from None
    _check_size(width, height)
    return Media("image", (height, width) if turned else (width, height))


def _probe_video(path: Path, time_limit_s: float) -> Media:
    listing, log = _packets(path, time_limit_s)
    header = dict(re.findall(r"^#(\w+) 0: +(.*)$", listing, re.MULTILINE))
    if "dimensions" not in header:
        raise MediaError("unreadable", "no frame size")
    width, height = map(int, header["dimensions"].split("x"))
    _check_size(width, height)
    packets = [_Packet.read(line) for line in listing.splitlines() if line.startswith("0,")]
    if not packets:
        raise MediaError("no frames")
    clock = _seconds(header["tb"])
    shown = sorted(p for p in packets if not p.flags & _DISCARDED and p.pts is not None)
    times = tuple(round(p.pts * clock, 6) for p in shown)
    timed = len(times) == len(set(times)) and all(p.pts is not None for p in packets)
    matrix = re.search(r"[Dd]isplay ?[Mm]atrix: rotation of (\S+) degrees", log)
    if matrix and abs(abs(float(matrix[1])) % 180 - 90) < 1:
        width, height = height, width
    fps, duration = _pace(shown if timed else [], clock, log)
    idr = {line.split(",")[1] for line in listing.splitlines() if line.startswith("1,")}
    return Media(
        "video",
        (width, height),
        duration,
        fps,
        times if timed else (),
        header.get("codec_id", ""),
        independent_gops=timed
        and not matrix
        and len(shown) == len(packets)
        and re.search(r"^Input #0, (mov|matroska),", log, re.MULTILINE) is not None
        and _closed(packets, header.get("codec_id", ""), {int(dts) for dts in idr}),
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
    if "ended prematurely" in log or (code and "Stream #" in log and listing.count("\n0,")):
        raise MediaError("damaged", complaint(log))
    if code and ("matches no streams" in log or ("Stream #" in log and "Video: " not in log)):
        raise MediaError("no video", "audio or data only")
    if code:
        raise MediaError("unreadable", complaint(log))
    return listing, log


def _run(path: Path, output: Sequence[str], time_limit_s: float) -> tuple[int, str, str]:
    command = [binary(), "-hide_banner", "-nostdin", *read_only(path), *output, "-f", "framecrc", "pipe:1"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=time_limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise MediaError("too slow", f"no packet list within {time_limit_s:g} s") from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def read_only(path: str | os.PathLike[str]) -> list[str]:
    """ffmpeg's input options for an untrusted local file: names with `:` too, nothing from the network."""
    return ["-xerror", "-protocol_whitelist", "file", "-i", f"file:{os.path.abspath(path)}"]


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
        key_pts = packet.pts if packet.dts in keys else key_pts
        if packet.pts < key_pts:
            return False
    return True


def _pace(shown: Sequence[_Packet], clock: float, log: str) -> tuple[float | None, float | None]:
    """Frames per second on average, and the end of the last frame in seconds."""
    if not shown:
        declared = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", log)
        hours, minutes, seconds = map(float, declared.groups()) if declared else (0, 0, 0)
        rate = re.search(r"Video: .*?([\d.]+) fps", log)
        return float(rate[1]) if rate else None, hours * 3600 + minutes * 60 + seconds or None
    span = shown[-1].pts - shown[0].pts
    ticks = shown[-1].ticks or (span / (len(shown) - 1) if span else 0)
    end = round((shown[-1].pts + ticks) * clock, 6)
    return (len(shown) / ((span + ticks) * clock) if span + ticks else None), end


def _seconds(time_base: str) -> float:
    numerator, denominator = map(int, time_base.split("/"))
    return numerator / denominator


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise MediaError("unreadable", f"frame size {width}x{height}")
    if width * height > MAX_PIXELS:
        raise MediaError("too large", f"{width}x{height} pixels")


def complaint(log: str) -> str:
    """The first line of ffmpeg's log that says what is wrong, without addresses and paths."""
    for line in log.splitlines():
        if re.search("error|invalid|corrupt|premature|partial|not found", line, re.IGNORECASE):
            return re.sub(r"^(\[[^]]*\] *)+", "", line)[:200]
    return log.strip().splitlines()[-1][:200] if log.strip() else "no output"
