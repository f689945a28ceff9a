"""The videos and images that annotations are about, looked up by the names that tools give them.

    with MediaFolder(Path("clips")) as media:
        media.find("/data/upload/3/1f0c4b2a-clip.mp4")     Medium("clip.mp4", size=(320, 180), timeline=...)

Tools name a file by an address, a path on another machine, or without its suffix. The longest end of the name
that matches a file of the folder decides. Files are opened in a process of their own, since they may crash
it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from tqdm import tqdm

from openo3.conversion.tracks import ConversionError, Timeline
from openo3.fetch.path_suffixes import PathSuffixIndex
from openo3.files.safe_path import UnsafePath, relative
from openo3.media.isolated import Processes
from openo3.media.probe import TIME_LIMIT_S, Media, MediaError, decoding_limit_s, probe, probing_limit_s
from openo3.media.reader import opened
from openo3.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

MAX_FILES = 500_000
"""How many files of the folder are listed."""

_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the name of a file


@dataclass(frozen=True)
class Medium:
    """A file of the folder; `timeline` is None for an image."""

    path: str
    size: tuple[int, int]
    timeline: Timeline | None


class MediaFolder:
    """The media below a folder. `fps` is the rate of videos that are not there."""

    def __init__(self, folder: Path, fps: float | None = None) -> None:
        self.folder, self.fps = folder, fps
        self._found: dict[str, Medium] = {}
        self._processes = Processes()
        self._bar = tqdm(desc="media", unit="file", disable=None, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.stop()
        self._bar.close()

    def find(self, *names: str | None) -> Medium | None:
        """The first file that one of the names means, None if there is none.

        Raises `ConversionError` if a name may mean several files, or the file cannot be used.
        """
        for name in filter(None, names):
            for wanted in _variants(name):
                found = self._index.find(wanted)
                if len(found) > 1:
                    raise ConversionError(f"{name}: may be {found[0]} or {found[1]} in {self.folder}")
                if found:
                    return self._open(found[0])
        return None

    def video(
        self,
        names: Sequence[str | None],
        size: tuple[int, int] | None = None,
        fps: float | None = None,
    ) -> Medium:
        """The video, or, where the folder does not have it, one of this size and rate.

        Raises `ConversionError` if neither says when its frames are shown.
        """
        if (found := self.find(*names)) is not None:
            if found.timeline is None:
                raise ConversionError(
                    f"{self.folder / found.path}: is an image, the annotations are of a video"
                )
            return found
        name, rate = shown_name(names, VIDEO_SUFFIXES, ".mp4"), self.fps or fps
        if not rate or size is None:
            lacking = "its size" if rate else "the times of its frames"
            raise ConversionError(
                f"{name}: not in {self.folder}, so {lacking} cannot be known; name the folder of the videos "
                "with --media" + ("" if rate else ", or their constant rate with --fps")
            )
        return Medium(name, size, Timeline((), 1 / rate))

    def image(self, names: Sequence[str | None], size: tuple[int, int] | None = None) -> Medium:
        """The image, or, where the folder does not have it, one of this size. Raises `ConversionError`."""
        if (found := self.find(*names)) is not None:
            if found.timeline is not None:
                raise ConversionError(
                    f"{self.folder / found.path}: is a video, the annotations are of an image"
                )
            return found
        name = shown_name(names, IMAGE_SUFFIXES, ".jpg")
        if size is None:
            raise ConversionError(
                f"{name}: not in {self.folder}, so its size cannot be known; name the folder of the images "
                "with --media"
            )
        return Medium(name, size, None)

    @cached_property
    def _index(self) -> PathSuffixIndex:
        suffixes = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
        paths = (
            os.path.relpath(os.path.join(parent, name), self.folder)
            for parent, _, files in os.walk(self.folder)
            for name in files
            if name.lower().endswith(suffixes)
        )
        return PathSuffixIndex(filter(_is_safe, islice(paths, MAX_FILES)))

    def _open(self, path: str) -> Medium:
        if path not in self._found:
            file = self.folder / path
            media = self._processes.call(_timed, file.absolute(), 4 * probing_limit_s(file, TIME_LIMIT_S))
            if isinstance(media, MediaError):
                raise ConversionError(f"{file}: {media}")
            facts, times_s = media
            timeline = None
            if facts.kind == "video":
                step_s = 1 / facts.fps if facts.fps else 1.0
                timeline = Timeline(times_s, step_s, facts.duration_s)
            self._found[path] = Medium(path, facts.size, timeline)
            self._bar.update()
        return self._found[path]


def shown_name(names: Sequence[str | None], suffixes: tuple[str, ...], suffix: str) -> str:
    """The file name that a record gives to a medium that is not here. Raises `ConversionError`."""
    for name in filter(None, names):
        last = next(iter(_variants(name))).rpartition("/")[2]
        try:
            return relative(last if last.lower().endswith(suffixes) else last + suffix)
        except UnsafePath as error:
            raise ConversionError(f"{last[:200]!r}: {error}") from None
    raise ConversionError("the annotations name no file")


def _is_safe(path: str) -> bool:
    try:
        return relative(path) == path
    except UnsafePath:
        return False


def _timed(file: Path) -> tuple[Media, tuple[float, ...]]:
    """The facts about a file and the times of its frames, which some containers tell by decoding alone."""
    media = probe(file)
    times_s = media.times_s
    if media.kind == "video" and not times_s:
        with opened(file, decoding_limit_s(media, TIME_LIMIT_S)) as video:
            times_s = tuple(sorted({time_s for time_s, _ in video.frames() if time_s >= 0}))
        if not times_s:
            raise MediaError("no frames")
    return media, times_s


def _variants(name: str) -> list[str]:
    """The paths that a name may mean, the likeliest first."""
    parts = urlsplit(name) if re.match(r"[a-z][a-z0-9+.-]*://|/data/", name) else None
    if parts:
        [path] = parse_qs(parts.query).get("d", [])[:1] or [unquote(parts.path)]
    else:
        path = name
    path = path.replace("\\", "/").strip("/")
    folder, slash, last = path.rpartition("/")
    plain = _UPLOADED.sub("", last, count=1) if parts or _UPLOADED.match(last) else last
    stems = dict.fromkeys((last, plain))
    found = [f"{folder}{slash}{stem}" for stem in stems]
    if not last.lower().endswith((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)):
        found += [f"{folder}{slash}{last}{suffix}" for suffix in VIDEO_SUFFIXES]
    return found
