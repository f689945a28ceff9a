"""Frames of a video or image, each with the presentation time of the frame that was decoded.

    sample("clip.mp4", keys=[Key(2.5)], policy) -> DecodedVideo(size=(128, 96), duration_s=9.6, shots=(...))

with a `SampledFrame(image, asked_s=2.5, time_s=2.483333, key=True)` for the annotated moment.

PyAV is the reference (`openo3.media.reader`): it knows presentation times, decodes from a clean key frame
where there is one and from the start otherwise, and stops at the first damaged frame. decord is a faster path
for the files that it can seek in exactly. It counts frames from the key frame before a wanted frame, so open
groups of pictures, trimmed starts and containers without an index shift its count silently, and turned frames
come out garbled (decord 0.6.0). PyAV decodes those files, other formats, and what decord complains about.
The result is the right frames or a `MediaError`, never frames of another moment.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

import av  # noqa: F401 - before decord, which makes its own libraries visible to those loaded later
import decord
import numpy as np
from PIL import Image

from openo3.media.container import MediaError
from openo3.media.image import fit_size, open_image, resize
from openo3.media.probe import TIME_LIMIT_S, Media, decoding_limit_s, probe, probing_limit_s
from openo3.media.reader import Entry, opened

_TOLERANCE_S = 1e-3  # annotated times and decord's are rounded to milliseconds


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
    and grows with longer videos (`decoding_limit_s`, `probing_limit_s`); `on_limit` is called with the limits
    once they are known. Raises `MediaError`.
    """
    file = Path(path)
    if (probing_s := probing_limit_s(file, time_limit_s)) > time_limit_s:
        on_limit(probing_s)
    media = probe(file, time_limit_s)
    limit_s = decoding_limit_s(media, time_limit_s)
    on_limit(limit_s)
    size = fit_size(*media.size, policy.max_pixels, policy.multiple)
    if media.kind == "image":
        return DecodedVideo(size, None, (SampledFrame(open_image(file, size), 0.0, 0.0, False),))
    shipped = [
        SampledFrame(open_image(key.image, size), key.time_s, key.time_s, True) for key in keys if key.image
    ]
    for times in _time_lines(file, media, limit_s):
        duration_s = max(media.duration_s or 0.0, times[-1])
        moments = _even_moments(times, duration_s - times[0], policy)
        moments += [(shown_at(times, key.time_s), key.time_s, True) for key in keys if not key.image]
        wanted = sorted({index for index, *_ in moments})
        by_packets = times is media.times_s
        pictures = _by_decord(file, media, wanted, size) if by_packets and media.independent_gops else None
        if pictures is None:
            wanted_s = [times[index] for index in wanted]
            pictures = _by_pyav(file, media, wanted_s, media.entries if by_packets else (), size, limit_s)
        if pictures is not None:
            break
    else:
        raise MediaError("damaged", "not the same frames when decoded again")
    decoded = [
        SampledFrame(pictures[times[index]], asked_s, times[index], key) for index, asked_s, key in moments
    ]
    shots = sorted([*shipped, *decoded], key=lambda shot: (shot.time_s, shot.key, shot.asked_s))
    return DecodedVideo(size, duration_s, tuple(shots))


def _time_lines(path: Path, media: Media, time_limit_s: float) -> Iterator[Sequence[float]]:
    """Times of all frames, in order and each once.

    First as the packets have them. Where those are no list of frames (fields, trimmed packets, two at one
    time, no times), as the decoder shows them.
    """
    if media.times_s:
        yield media.times_s
    with opened(path, time_limit_s) as video:
        times = [time_s for time_s, _ in video.frames()]
    if times != sorted(times):
        raise MediaError("damaged", "frames out of order")
    shown = [time_s for time_s in dict.fromkeys(times) if time_s >= 0]  # what starts before 0 is not shown
    if not shown:
        raise MediaError("no frames", "all of them start before 0 s" if times else "")
    yield shown


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
) -> dict[float, Image.Image] | None:
    """Pictures by time; None if decord fails, or has anything to complain about."""
    decord.logging.set_level(decord.logging.ERROR)
    with _native_stderr() as complaints:
        try:
            pictures = _seek(path, media, wanted, size)
        except (decord.DECORDError, RuntimeError):
            return None
        return pictures if complaints.tell() == 0 else None


def _seek(
    path: Path, media: Media, wanted: Sequence[int], size: tuple[int, int]
) -> dict[float, Image.Image] | None:
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
        pictures[media.times_s[index]] = resize(Image.fromarray(frame), size)
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


def _by_pyav(
    path: Path,
    media: Media,
    wanted_s: Sequence[float],
    entries: Sequence[Entry],
    size: tuple[int, int],
    time_limit_s: float,
) -> dict[float, Image.Image] | None:
    """Pictures by time, decoded from the entry before each; None if there is no frame at one of the times."""
    pictures: dict[float, Image.Image] = {}
    starts = [entry.time_s for entry in entries]
    with opened(path, time_limit_s) as video:
        for place, times in groupby(wanted_s, key=lambda time_s: bisect_right(starts, time_s)):
            group = set(times)
            for time_s, frame in video.frames(entries[place - 1] if place else None):
                if time_s in group:  # the last frame of several at one time
                    pictures[time_s] = resize(video.picture(frame, media.size), size)
                elif group <= pictures.keys():
                    break
    return pictures if len(pictures) == len(wanted_s) else None
