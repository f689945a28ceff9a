"""What a media file is.

    probe("clip.mp4") -> Media(kind="video", size=(640, 360), duration_s=9.6, fps=30.0, times_s=(0.0, ...))

The packets of the first video stream are listed and its first frame is decoded. This takes some ten
milliseconds and gives the exact presentation time of every frame on a player's time line: 0 is where the
earliest stream of the file starts. A broken file raises `MediaError`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image, UnidentifiedImageError

from openo3.media.container import MediaError, cut_off, encrypted, unsupported
from openo3.media.reader import MAX_PIXELS, Entry, Orientation, Video, opened, orientation

TIME_LIMIT_S = 60.0

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_ANIMATED_FORMATS = ("PNG", "WEBP", "GIF")  # others with several pictures (MPO, TIFF) are still images

_FRAMES_PER_LIMIT = 10_000  # time limits hold for videos of up to so many frames, and grow with longer ones
_BYTES_PER_LIMIT = 1 << 30
_END_TOLERANCE_S = 0.1  # declared lengths are approximate
_LONGEST_GAP_S = 30 * 3600  # as the ffmpeg command

_IDR = 5  # H.264 NAL unit type: the decoder forgets everything before it
_ENTERED = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "prores")
"""Codecs whose key frames are entries, as tests show."""
_COUNTED = ("h264", "hevc", "vp8", "vp9")
"""Codecs of which a decoder that counts frames has been seen to count right."""


@dataclass(frozen=True)
class Media:
    """A video's or a still image's facts.

    `size` is `(W, H)` in source pixels as shown, rotation applied, pixels taken as square. `times_s` are the
    presentation times in seconds of all frames in order; they are empty if only decoding tells them.
    `duration_s` is the end of the last frame whatever the sound does. Both are empty for an image.
    `frames` is the number of packets, about that of frames.

    `entries` are the key frames after the first one from which on a decoder shows everything right; without
    them, decoding starts at the start of the file.

    `independent_gops`: a decoder that only counts frames from any key frame is right too (closed groups of
    pictures, no trimmed frames, upright pictures).

    `container` and `pixel_format` are ffmpeg's names ("mov,mp4,…", "yuv420p"). `turned`: the file asks for
    another orientation than the stored one. `length_declared`: its header says how long it is.
    """

    kind: Literal["video", "image"]
    size: tuple[int, int]
    duration_s: float | None = None
    fps: float | None = None
    times_s: tuple[float, ...] = ()
    codec: str = ""
    entries: tuple[Entry, ...] = ()
    independent_gops: bool = False
    frames: int = 1
    container: str = ""
    pixel_format: str = ""
    turned: bool = False
    length_declared: bool = False


def decoding_limit_s(media: Media, time_limit_s: float) -> float:
    """The time limit for decoding: `time_limit_s` for up to 10,000 frames, in proportion for more."""
    return time_limit_s * max(1.0, media.frames / _FRAMES_PER_LIMIT)


def probing_limit_s(path: str | os.PathLike[str], time_limit_s: float) -> float:
    """The time limit for `probe`: `time_limit_s` for up to 1 GiB, in proportion for more."""
    size = os.path.getsize(path) if os.path.exists(path) else 0
    return time_limit_s * max(1.0, size / _BYTES_PER_LIMIT)


def probe(path: str | os.PathLike[str], time_limit_s: float = TIME_LIMIT_S) -> Media:
    """Inspect the file's content; its name does not matter.

    `time_limit_s` is stretched for large files (`probing_limit_s`). Raises `MediaError` with the reasons
    `missing`, `empty`, `unreadable`, `no video`, `no frames`, `damaged` (also cut off), `encrypted`,
    `too large` or `too slow`.
    """
    file = Path(path)
    if not file.is_file():
        raise MediaError("missing")
    if file.stat().st_size == 0:
        raise MediaError("empty")
    if why := unsupported(file):
        raise MediaError("unreadable", why)
    return _probe_image(file) or _probe_video(file, probing_limit_s(file, time_limit_s))


def _probe_image(path: Path) -> Media | None:
    """None if the file is no still image: videos, and animations, which count as videos."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.format in _ANIMATED_FORMATS and getattr(image, "n_frames", 1) > 1:
                return None
            width, height = image.size
            _check_size(width, height)
            # Orientations 5-8 swap the sides; text or bytes in this place mean nothing, as in `open_image`
            turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
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
    with opened(path, time_limit_s) as video:
        if encrypted(path):
            raise MediaError("encrypted", "copy-protected, so it cannot be decoded")
        _check_size(*video.size)
        packets, frame = _packets(video)
        turn, size = orientation(frame), (frame.width, frame.height)
        _check_size(*size)
        kept = [packet for packet in packets if not packet.discarded]
        timed = all(packet.timed for packet in packets)
        delay = packets[0].pts - packets[0].dts
        starts = sorted((p.pts if timed else p.dts + delay, p.ticks) for p in kept)
        ticks = sorted({start for start, _ in starts})
        if not ticks:
            raise MediaError("no frames")
        times = [video.seconds(start) for start in ticks]
        # The demuxer rewrites times next to trimmed frames, and packets at one time are not one frame each.
        trusted = timed and len(kept) == len(packets) and len(set(times)) == len(kept)
        shown = tuple(time_s for time_s in times if time_s >= 0)  # what starts before 0 is not shown
        span = ticks[-1] - ticks[0]
        last = starts[-1][1] or (span / (len(ticks) - 1) if span else 0)
        end_s = video.seconds(ticks[-1] + last)
        _check_end(path, video, end_s, 2 * last * video.tick_s)
        entered = trusted and video.seekable and video.codec in _ENTERED
        return Media(
            "video",
            turn.apply(size),
            end_s if end_s > 0 else None,
            len(ticks) / ((span + last) * video.tick_s) if span + last else None,
            shown if trusted else (),
            video.codec,
            entries=tuple(_entries(packets[1:], video)) if entered else (),
            independent_gops=entered
            and turn == Orientation()
            and not frame.rotation
            and len(shown) == len(packets)
            and video.codec in _COUNTED
            and _closed(packets),
            frames=len(packets),
            container=video.container.format.name,
            pixel_format=video.pixel_format,
            turned=turn != Orientation() or bool(frame.rotation),
            length_declared=bool(video.declared_s),
        )


@dataclass(frozen=True)
class _Packet:
    """`pts` and `dts` are the ticks of presentation and decoding, `ticks` says how long it is shown.

    `timed`: its container, unlike AVI, says when it is presented. `clean`: a key frame after which the
    decoder needs nothing from before.
    """

    pts: int
    dts: int
    ticks: int
    timed: bool
    key: bool
    clean: bool
    discarded: bool


def _packets(video: Video) -> tuple[list[_Packet], Any]:
    """All packets, and the first frame that comes out of the decoder."""
    found: list[_Packet] = []
    frame, last = None, None
    unit_bytes = _length_bytes(video) if video.codec == "h264" else 0
    for packet in video.packets():
        expected = found[-1].dts + found[-1].ticks if found else 0
        timed = packet.pts is not None
        dts = packet.dts if packet.dts is not None else packet.pts if timed else expected
        if packet.dts is not None:
            if last is not None and not 0 <= dts - last <= _LONGEST_GAP_S / video.tick_s:
                what = "comes after a later one" if dts < last else "comes hours after the one before"
                raise MediaError("damaged", f"a frame near {video.seconds(dts):.3f} s {what}")
            last = dts
        key = packet.is_keyframe
        clean = key and (video.codec != "h264" or _has_idr(memoryview(packet), unit_bytes))
        pts = packet.pts if timed else dts
        found.append(_Packet(pts, dts, packet.duration or 0, timed, key, clean, packet.is_discard))
        frame = frame or next(iter(video.decode(packet)), None)
    frame = frame or next(iter(video.decode(None)), None)
    if not found or frame is None:
        raise MediaError("no frames")
    return found, frame


def _length_bytes(video: Video) -> int:
    """How many bytes the length before each H.264 unit has, as in MP4 and Matroska; 0 for start codes."""
    header = video.stream.codec_context.extradata or b""
    return (header[4] & 3) + 1 if len(header) > 4 and header[0] == 1 else 0


def _has_idr(data: memoryview, length_bytes: int) -> bool:
    """Whether a packet of H.264 units with their lengths holds an IDR picture; False if it has none."""
    place = 0
    while length_bytes and place + length_bytes < len(data):
        unit = place + length_bytes
        if data[unit] & 31 == _IDR:
            return True
        place = unit + int.from_bytes(data[place:unit], "big")
    return False


def _entries(packets: Sequence[_Packet], video: Video) -> list[Entry]:
    """Where a decoder may start."""
    return [
        Entry(video.seconds(pts), pts) for pts in sorted(packet.pts for packet in packets if packet.clean)
    ]


def _check_end(path: Path, video: Video, end_s: float, slack_s: float) -> None:
    """Raises `MediaError` for a Matroska file that is cut off before the length that its header declares.

    A stray byte at the end of a complete file does no harm; nor does an end at any place to a recording
    without a declared length. Of an MP4, the demuxer itself misses what its index names.
    """
    if not video.matroska or not (words := cut_off(path)):
        return
    if (declared_s := video.declared_s) and end_s < declared_s - slack_s - _END_TOLERANCE_S:
        raise MediaError("damaged", words)


def _closed(packets: Sequence[_Packet]) -> bool:
    """True if no frame needs a frame from before the last key frame.

    Frames that follow a key frame in the file but precede it on the screen belong to an open group, and
    an H.264 key frame that is not IDR only starts a recovery (one of HEVC is clean unless frames precede it).
    """
    key_pts = 0
    if not packets[0].key:
        return False
    for packet in packets:
        key_pts = packet.pts if packet.key else key_pts
        if (packet.key and not packet.clean) or packet.pts < key_pts:
            return False
    return True


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise MediaError("unreadable", f"frame size {width}x{height}")
    if width * height > MAX_PIXELS:
        raise MediaError("too large", f"{width}x{height} pixels")
