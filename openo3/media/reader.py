"""Reading a video with PyAV, which is ffmpeg's libraries: packets and frames with their presentation times.

    with opened(Path("clip.mp4"), time_limit_s=60) as video:
        for time_s, frame in video.frames():
            video.picture(frame, size=(640, 360))

Times are those of a player: 0 is where the earliest stream of the file starts. Anything that the demuxer or
the decoder finds damaged raises `MediaError`. One thread decodes, since PyAV (18.1) would drop an error that
another thread reports after the last packet.

The time limit holds between packets, and a file may make C code crash or hang, so call this in a process of
its own (`openo3.media.isolated`).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import Flags, InputContainer
from av.format import Flags as FormatFlags
from av.stream import Discard, Disposition
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from openo3.media.container import OPEN_OPTIONS, TOO_SLOW, MediaError, cut_off, why_unreadable

MAX_PIXELS = 1 << 26
"""Larger pictures than 8192 x 8192 are refused: a damaged header may claim any size."""

_NO_VIDEO = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
_JUMP_S, _BACK_S = 10.0, 0.1  # as the ffmpeg command: a larger gap, or a step back, is a new clock


def versions() -> list[str]:
    """The libraries that decode, by name and version: another one may give other frames."""
    return [f"{library} {metadata.version(library)}" for library in ("av", "decord", "pillow")]


@dataclass(frozen=True)
class Entry:
    """A key frame that decoding may start at: when it is presented, in seconds and in the file's ticks."""

    time_s: float
    ticks: int


@contextmanager
def opened(path: Path, time_limit_s: float) -> Iterator[Video]:
    """The first real video stream of an untrusted local file. Raises `MediaError`."""
    try:
        container = av.open(
            f"file:{os.path.abspath(path)}", container_options=dict(OPEN_OPTIONS), metadata_errors="replace"
        )
    except av.FFmpegError as error:
        refused = isinstance(error, av.ArgumentError)
        raise MediaError("unreadable", why_unreadable(path, refused=refused)) from None
    with container:
        yield Video(container, path, time_limit_s)


class Video:
    """An open video, to be read from its start, or from an entry, forwards.

    `size` is `(W, H)` in coded pixels, `tick_s` the length of a tick. `seekable`: the demuxer has an index.
    """

    def __init__(self, container: InputContainer, path: Path, time_limit_s: float) -> None:
        self.container, self._path, self._limit_s = container, path, time_limit_s
        self._deadline = time.monotonic() + time_limit_s
        streams = [stream for stream in container.streams.video if not stream.disposition & _NO_VIDEO]
        if not streams:
            raise MediaError("no video", "audio or data only")
        self.stream = streams[0]
        for stream in container.streams:
            stream.discard = Discard.default if stream is self.stream else Discard.all
        container.flags &= ~Flags.gen_pts.value  # times as they are in the file
        self._decoder = self.stream.codec_context
        if self._decoder is None or not self.stream.time_base:
            raise MediaError("unreadable", "no decoder for this kind of video")
        self._decoder.thread_count = 1
        self._decoder.options = {"max_pixels": str(MAX_PIXELS)}
        self.size = self._decoder.width, self._decoder.height
        self.codec = self._decoder.codec.canonical_name
        self.pixel_format = self._decoder.pix_fmt or ""
        self.tick_s = self.stream.time_base.numerator / self.stream.time_base.denominator
        self._start = round((container.start_time or 0) / (1_000_000 * self.stream.time_base))
        self.matroska = container.format.name.startswith("matroska")
        self.seekable = self.matroska or container.format.name.startswith("mov")
        self._jumps = bool(container.format.flags & FormatFlags.ts_discont.value)
        self._reformatter = VideoReformatter()

    def seconds(self, ticks: float) -> float:
        """The time of a player, to the microsecond."""
        return round((ticks - self._start) * self.tick_s, 6)

    @property
    def declared_s(self) -> float | None:
        """How long the header says that the stream or else the file is."""
        if tag := re.match(r"(\d+):(\d+):([\d.]+)", self.stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = map(float, tag.groups())
            return hours * 3600 + minutes * 60 + seconds
        return self.container.duration and self.container.duration / 1_000_000

    def packets(self) -> Iterator[Any]:
        """The video's packets in the order of decoding, on one clock even where the file's jumps."""
        last: tuple[int, int] | None = None  # when the last one is decoded, and when the next one should be
        shift, jump, back = 0, _JUMP_S / self.tick_s, _BACK_S / self.tick_s
        try:
            for packet in self.container.demux(self.stream):
                if time.monotonic() > self._deadline:
                    raise MediaError(TOO_SLOW, f"not read within {self._limit_s:g} s")
                if packet.is_corrupt:
                    raise self._damage("is corrupt", packet)
                if not packet.size:  # PyAV's last one, and empty ones, which would end the decoding
                    continue
                if packet.dts is not None:
                    dts = packet.dts + shift
                    if last and self._jumps and (abs(dts - last[1]) > jump or dts < last[0] - back):
                        shift += last[1] - dts
                    packet.dts += shift
                    last = packet.dts, packet.dts + (packet.duration or 0)
                if packet.pts is not None:
                    packet.pts += shift
                yield packet
        except (av.FFmpegError, OverflowError):  # the latter: times that no file has
            words = cut_off(self._path) or "the file cannot be read to its end"
            raise MediaError("damaged", words) from None

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        """The frames that come out of the decoder when `packet` goes in; the last ones for None."""
        try:
            frames = self._decoder.decode(packet)
        except av.EOFError:
            return []
        except av.FFmpegError:
            raise self._damage("cannot be decoded", packet) from None
        if any(frame.is_corrupt for frame in frames):
            raise self._damage("is decoded with errors", packet)
        return frames

    def _damage(self, what: str, packet: Any) -> MediaError:
        """That the file is cut off, or what is wrong with the packet."""
        ticks = None if packet is None else packet.pts
        place = "" if ticks is None else f" near {self.seconds(ticks):.3f} s"
        return MediaError("damaged", cut_off(self._path) or f"a frame{place} {what}")

    def frames(self, entry: Entry | None = None) -> Iterator[tuple[float, av.VideoFrame]]:
        """All frames in the order of presentation, each with its time, from an entry or from here on.

        None come if the demuxer does not find the entry. Frames of a container without presentation times,
        such as AVI, come out of the decoder late by the number of frames that it reorders, so the first one
        is put where the first packet was.
        """
        if entry:
            try:
                self.container.seek(entry.ticks, stream=self.stream)
            except av.FFmpegError:
                return
        packets = self.packets()
        first = next(packets, None)
        if first is None or (entry and not self._leads_to(first, entry)):
            return
        untimed = first.pts is None
        late, last, step = None, None, 1
        for packet in chain([first], packets, [None]):
            for frame in self.decode(packet):
                ticks = frame.dts if frame.pts is None else frame.pts
                if ticks is not None and late is None:
                    late = ticks - first.dts if untimed and first.dts is not None else 0
                ticks = (last or 0) + step if ticks is None else ticks - (late or 0)
                step = frame.duration or (ticks - last if last is not None else 0) or step
                last = ticks
                yield self.seconds(ticks), frame

    def _leads_to(self, packet: Any, entry: Entry) -> bool:
        return packet.is_keyframe and packet.pts is not None and self.seconds(packet.pts) <= entry.time_s

    def picture(self, frame: av.VideoFrame, size: tuple[int, int]) -> Image.Image:
        """A frame as RGB, upright, scaled to `size` if it has another, as `(W, H)` in source pixels."""
        turn = orientation(frame)
        width, height = turn.apply(size)
        try:
            plain = self._reformatter.reformat(
                frame, width, height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1
            )
        except av.FFmpegError:
            raise MediaError("damaged", "its pixels have no known format") from None
        return Image.fromarray(turn.upright(plain.to_ndarray()))


@dataclass(frozen=True)
class Orientation:
    """How pictures are put upright: rows and columns swapped, then columns and rows reversed."""

    swapped: bool = False
    reversed_x: bool = False
    reversed_y: bool = False

    def apply(self, size: tuple[int, int]) -> tuple[int, int]:
        """`(W, H)` after the turn, or, for a size after it, before."""
        width, height = size
        return (height, width) if self.swapped else size

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """[H, W, 3]"""
        pixels = pixels.swapaxes(0, 1) if self.swapped else pixels
        return np.ascontiguousarray(pixels[:: -1 if self.reversed_y else 1, :: -1 if self.reversed_x else 1])


def orientation(frame: av.VideoFrame) -> Orientation:
    """What the frame's display matrix says; other angles than multiples of 90 degrees count as upright."""
    try:
        matrix = bytes(frame.side_data.get("DISPLAYMATRIX") or b"")
    except ValueError:  # PyAV does not know every kind of side data
        if frame.rotation:
            raise MediaError("unreadable", "turned by side data that is not supported") from None
        return Orientation()
    if len(matrix) < 36:
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32, 9).tolist()  # x' = ax + cy, y' = bx + dy
    if max(abs(a), abs(d)) * 50 < min(abs(b), abs(c)):
        return Orientation(True, c < 0, b < 0)
    if max(abs(b), abs(c)) * 50 < min(abs(a), abs(d)):
        return Orientation(False, a < 0, d < 0)
    return Orientation()
