"""Frames of a video or image, each with the presentation time of the frame that was decoded.

    sample("clip.mp4", keys=[Key(2.5)], policy) -> DecodedVideo(size=(128, 96), duration_s=9.6, shots=(...))

with a `SampledFrame(image, asked_s=2.5, time_s=2.483333, key=True)` for the annotated moment.

decord decodes the files that it can seek in exactly. It counts frames from the key frame before a wanted
frame, so open groups of pictures, trimmed starts and containers without an index shift its count silently,
and rotated frames come out garbled (decord 0.6.0). ffmpeg decodes those files from the start, as well as
formats that decord does not know and files that it complains about. ffmpeg stops at the first damaged frame.
The result is the right frames or a `MediaError`, never frames of another moment.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import decord
import numpy as np
from PIL import Image

from openo3.media.container import complaint, input_options
from openo3.media.ffmpeg import binary
from openo3.media.image import fit_size, open_image, resize
from openo3.media.probe import TIME_LIMIT_S, TOO_SLOW, Media, MediaError, decoding_limit_s, probe

_TOLERANCE_S = 1e-3  # annotated times and decord's are rounded to milliseconds
_SAME_TICK_S = 5e-6  # times are rounded to microseconds; the finest usual clock ticks every 11


@dataclass(frozen=True)
class SamplingConfig:
    """How many frames of a video are taken, and how large they become for the model.

    `fps` a second, at least `min_frames` and at most `max_frames`; sides are multiples of `multiple` pixels.
    """

    fps: float
    min_frames: int
    max_frames: int
    max_pixels: int
    multiple: int
    jpeg_quality: int = 95


@dataclass(frozen=True)
class Key:
    """An annotated moment, and the JPEG of it if the source ships one."""

    time_s: float
    image: Path | None = None


@dataclass(frozen=True)
class SampledFrame:
    """`image` is RGB in model size; `asked_s` is the time that it was wanted for, `time_s` its own."""

    image: Image.Image
    asked_s: float
    time_s: float
    key: bool


@dataclass(frozen=True)
class DecodedVideo:
    """What the model sees of one media file. `size` is `(W, H)` in model pixels."""

    size: tuple[int, int]
    duration_s: float | None
    shots: tuple[SampledFrame, ...]


def sample(
    path: str | os.PathLike[str],
    keys: Sequence[Key],
    policy: SamplingConfig,
    time_limit_s: float = TIME_LIMIT_S,
    on_limit: Callable[[float], object] = lambda seconds: None,
) -> DecodedVideo:
    """Evenly spread frames and the key frames of a video, in order of time; an image as it is.

    Times of even frames run from the first frame to the last, so both ends are seen. A video with fewer
    frames than the policy asks for gives each of its frames once. `time_limit_s` is for up to 10,000 frames
    and grows with longer videos (`decoding_limit_s`); `on_limit` is called with the limit once it is known.
    Raises `MediaError`.
    """
    file = Path(path)
    media = probe(file, time_limit_s)
    limit_s = decoding_limit_s(media, time_limit_s)
    on_limit(limit_s)
    size = fit_size(*media.size, policy.max_pixels, policy.multiple)
    if media.kind == "image":
        return DecodedVideo(size, None, (SampledFrame(open_image(file, size), 0.0, 0.0, False),))
    shipped = [
        SampledFrame(open_image(key.image, size), key.time_s, key.time_s, True) for key in keys if key.image
    ]
    for times, condition in _time_lines(file, media, limit_s):
        duration_s = max(media.duration_s or 0.0, times[-1])
        moments = _even_moments(times, duration_s - times[0], policy)
        moments += [(shown_at(times, key.time_s), key.time_s, True) for key in keys if not key.image]
        wanted = sorted({index for index, *_ in moments})
        seekable = media.independent_gops and times is media.times_s
        pictures = _by_decord(file, media, wanted, size) if seekable else None
        if pictures is None:
            conditions = {index: condition(index) for index in wanted}
            pictures = _by_ffmpeg(file, media, conditions, size, limit_s)
        if pictures is not None:
            break
    else:
        raise MediaError("damaged", "not the same frames when decoded again")
    decoded = [SampledFrame(pictures[index], asked_s, times[index], key) for index, asked_s, key in moments]
    shots = sorted([*shipped, *decoded], key=lambda shot: (shot.time_s, shot.key, shot.asked_s))
    return DecodedVideo(size, duration_s, tuple(shots))


def _time_lines(
    path: Path, media: Media, time_limit_s: float
) -> Iterator[tuple[Sequence[float], Callable[[int], str]]]:
    """Times of all frames, and the condition by which ffmpeg's filter `select` knows the frame of an index.

    First as the packets have them. Where those are no list of frames (fields, trimmed packets, two at one
    time), as decoding shows them.
    """
    if media.times_s:
        clock_s = [time_s - media.clock_offset_s for time_s in media.times_s]
        yield media.times_s, lambda index: f"lt(abs(t-{clock_s[index]:.6f})\\,{_SAME_TICK_S})"
    frames = _frame_times(path, media, time_limit_s)
    first = bisect_left(frames, 0.0)  # a frame that starts before 0 is not shown
    if first == len(frames):
        raise MediaError("no frames", "all of them start before 0 s")
    yield frames[first:], lambda index: f"eq(n\\,{first + index})"


def _even_moments(
    times: Sequence[float], length_s: float, policy: SamplingConfig
) -> list[tuple[int, float, bool]]:
    """`(frame index, time asked for, False)` of the evenly spread frames, each frame once."""
    moments: dict[int, float] = {}
    count = len(sample_times(length_s, policy.fps, policy.min_frames, policy.max_frames))
    for offset_s in spread(times[-1] - times[0], count):
        asked_s = round(times[0] + offset_s, 6)
        moments.setdefault(shown_at(times, asked_s), asked_s)
    return [(index, asked_s, False) for index, asked_s in moments.items()]


def sample_times(duration_s: float, fps: float, min_frames: int, max_frames: int) -> list[float]:
    """Evenly spread times from 0 to `duration_s`: `fps` a second, within the two bounds.

    >>> sample_times(3.0, fps=1.0, min_frames=4, max_frames=16)
    [0.0, 1.0, 2.0, 3.0]
    """
    return spread(duration_s, max(1, min_frames, min(max_frames, round(duration_s * fps))))


def spread(end_s: float, count: int) -> list[float]:
    """`count` times from 0 to `end_s`, both included; one alone is in the middle."""
    return [end_s * (i / (count - 1)) for i in range(count)] if count > 1 else [end_s / 2]


def shown_at(times_s: Sequence[float], time_s: float) -> int:
    """Index of the frame on the screen at `time_s`: the last that has begun, else the first."""
    return max(0, bisect_right(times_s, time_s + _TOLERANCE_S) - 1)


def _by_decord(
    path: Path, media: Media, wanted: Sequence[int], size: tuple[int, int]
) -> dict[int, Image.Image] | None:
    """Pictures by frame index; None if decord fails, or has anything to complain about."""
    decord.logging.set_level(decord.logging.ERROR)
    with _native_stderr() as complaints:
        try:
            pictures = _seek(path, media, wanted, size)
        except (decord.DECORDError, RuntimeError):
            return None
        return pictures if complaints.tell() == 0 else None


def _seek(
    path: Path, media: Media, wanted: Sequence[int], size: tuple[int, int]
) -> dict[int, Image.Image] | None:
    """None if decord sees other frames than the packets say."""
    reader = decord.VideoReader(os.path.abspath(path), num_threads=1)
    seen = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    offsets = np.subtract(media.times_s, media.times_s[0])
    if len(seen) != len(offsets) or np.abs(seen - seen[0] - offsets).max() > 2 * _TOLERANCE_S:
        return None
    pictures = {}
    for index in wanted:
        frame = reader[index].asnumpy()
        if frame.shape != (*media.size[::-1], 3):
            return None
        pictures[index] = resize(Image.fromarray(frame), size)
    return pictures


@contextmanager
def _native_stderr() -> Iterator[IO[bytes]]:
    """Collects what C code writes to this process's standard error, and Python's own lines too."""
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _frame_times(path: Path, media: Media, time_limit_s: float) -> list[float]:
    """Presentation times of all frames that ffmpeg shows, by decoding them.

    Frames of a container without presentation times come out of the decoder late by the number of frames
    that it reorders, so the first one is put where its packet was.
    """
    log = _ffmpeg(path, "showinfo", ["-f", "null"], time_limit_s, read=lambda pipe: None)
    clock = re.search(r"config in time_base: (\d+)/(\d+)", log)
    ticks = re.findall(r"\bn: *\d+ pts: *(\S+) ", log)
    if not clock or not ticks:
        raise MediaError("no frames")
    if "NOPTS" in ticks or sorted(ticks, key=int) != ticks:
        raise MediaError("damaged", "frames without a time or out of order")
    times = [int(pts) * int(clock[1]) / int(clock[2]) for pts in ticks]
    offset_s = media.clock_offset_s if media.first_time_s is None else media.first_time_s - times[0]
    return [round(time_s + offset_s, 6) for time_s in times]


def _by_ffmpeg(
    path: Path, media: Media, wanted: Mapping[int, str], size: tuple[int, int], time_limit_s: float
) -> dict[int, Image.Image] | None:
    """Pictures by frame index: decode from the start, keep the frames that meet the conditions of `wanted`.

    None if there is not one frame for each.
    """
    width, height = media.size
    pictures: list[Image.Image] = []

    def read(pipe: IO[bytes]) -> None:
        while len(frame := pipe.read(width * height * 3)) == width * height * 3:
            pictures.append(resize(Image.frombytes("RGB", (width, height), frame), size))

    graph = f"select='{'+'.join(wanted.values())}',scale={width}:{height}"
    _ffmpeg(path, graph, ["-f", "rawvideo", "-pix_fmt", "rgb24"], time_limit_s, read)
    return dict(zip(wanted, pictures, strict=True)) if len(pictures) == len(wanted) else None


def _ffmpeg(
    path: Path, graph: str, output: Sequence[str], time_limit_s: float, read: Callable[[IO[bytes]], None]
) -> str:
    """Run ffmpeg's filters `graph` on the first video stream, `read` what comes, return the log.

    Raises `MediaError` if a frame is damaged or the time limit is exceeded.
    """
    # without a new filter graph when the size changes midway, so that the count of frames goes on; new times
    # at the end, since muxers take neither equal nor rounded ones
    source = ["-hide_banner", "-nostdin", "-threads", "2", "-reinit_filter", "0", *input_options(path)]
    graph += ",settb=1/1000,setpts=N*1000"
    chain = ["-map", "0:V:0", "-vf", graph, "-fps_mode", "passthrough"]
    command = [binary(), *source, *chain, *output, "pipe:1"]
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file)
        watch = threading.Timer(time_limit_s, process.kill)
        watch.start()
        try:
            assert process.stdout is not None  # a pipe
            read(process.stdout)
            process.stdout.close()
            process.wait()
        finally:
            watch.cancel()
            process.kill()
            process.wait()
        file.seek(0)
        log = file.read().decode(errors="replace")
    if process.returncode == -signal.SIGKILL:
        raise MediaError(TOO_SLOW, f"not decoded within {time_limit_s:g} s")
    if process.returncode:
        raise MediaError("damaged", complaint(log, path))
    return log
