"""Clips beside a page: hard links to what browsers play, converted copies of the rest.

A clip's file is named by a digest, so nothing that an annotation calls its media leads out of the folder, and
a clip of the same content is taken from the gallery before, if the code that converts clips is the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

from openo3.files.artifacts import link_or_copy, read_json
from openo3.files.safe_path import Root, UnsafePath, relative
from openo3.media import container, reader
from openo3.media import probe as probing
from openo3.media.probe import Media, MediaError, probe
from openo3.player import clip as conversion
from openo3.player.clip import TooLarge, browser_container, described, playable

FOLDER = "media"
MAX_BYTES = 512 << 20
"""Of a converted copy."""

_ENDINGS = {"video/mp4": "mp4", "video/webm": "webm", "image/jpeg": "jpg"}


class Known(TypedDict):
    """A clip of an earlier gallery; see `Clip`."""

    media: dict[str, Any]
    how: str


@dataclass(frozen=True)
class Clip:
    """The player's `media`, empty if there is none and `missing` says why; how its file came to be.

    `how` is `linked`, `copied`, `converted`, or empty.
    """

    media: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""
    key: str = ""
    how: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """`(W, H)` in source pixels; `(1, 1)` if it is not known."""
        width, height = self.media.get("size") or (1, 1)
        return width, height


def read_known(marker: Path) -> dict[str, Known]:
    """The clips that an earlier page's `marker` file lists, by their keys; none if it cannot be read."""
    try:
        clips = read_json(marker)["clips"].items()
        return {
            key: Known(media=_checked(clip["media"]), how=str(clip["how"]))
            for key, clip in clips
            if clip["media"]["url"]
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # all clips are looked at anew
        return {}


def known_again(clips: Iterable[Clip]) -> dict[str, Known]:
    """What `read_known` gives the next time."""
    return {clip.key: Known(media={**clip.media}, how=clip.how) for clip in clips if clip.key}


class Clips:
    """Puts clips below `raw` into `folder / "media"`.

    `before` is an earlier page's folder, `known` its clips. Links below `raw` may lead into the folders
    that `trusted` gives.
    """

    def __init__(
        self,
        raw: Path,
        folder: Path,
        before: Path,
        known: Mapping[str, Known],
        trusted: Callable[[], Iterable[Path]],
    ) -> None:
        self._root = Root(raw, trusted)
        self._folder, self._before, self._known = folder, before, known
        (folder / FOLDER).mkdir()

    def prepare(self, names: Iterable[str]) -> Iterator[tuple[str, Clip]]:
        """Each media name with its clip, several at a time, in the order of the names."""
        listed = list(names)
        with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
            yield from zip(listed, pool.map(self.clip, listed), strict=True)

    def clip(self, name: str) -> Clip:
        """The clip of one media name, put into the folder."""
        try:
            path = relative(name)
            there = self._root.find(path) is not None
        except UnsafePath as error:
            return Clip(missing=f"its path {error}")
        if not there:
            return Clip(missing="its file is not in data/raw/media")
        source = Path(os.path.realpath(self._root.folder / path))
        try:
            with source.open("rb") as file:  # its size and time may be those of another content
                content = hashlib.file_digest(file, "sha256").hexdigest()
            key = hashlib.sha256(f"{path}\0{content}\0{_code()}".encode()).hexdigest()[:24]
            return self._again(key) or self._new(key, source)
        except (MediaError, TooLarge, OSError) as error:
            return Clip(missing=" ".join(str(error).split()))

    def _again(self, key: str) -> Clip | None:
        """The clip as the gallery before has it."""
        found = self._known.get(key)
        if found is None:
            return None
        for ending in _ENDINGS.values():
            file = f"{key}.{ending}"
            old = self._before / FOLDER / file
            if found["media"]["url"] == f"{FOLDER}/{file}" and old.is_file():
                how = link_or_copy(old, self._folder / FOLDER / file)
                return Clip(found["media"], key=key, how=found["how"] if how == "linked" else how)
        return None

    def _new(self, key: str, source: Path) -> Clip:
        media = probe(source)
        ending = browser_container(media) if media.kind == "video" else None
        if ending:
            return self._placed(key, media, ending, lambda target: link_or_copy(source, target))
        content, kind = playable(source, media, max_bytes=MAX_BYTES)

        def converted(target: Path) -> str:
            target.write_bytes(content)
            return "converted"

        return self._placed(key, media, _ENDINGS[kind], converted)

    def _placed(self, key: str, media: Media, ending: str, put: Callable[[Path], str]) -> Clip:
        file = f"{key}.{ending}"
        how = put(self._folder / FOLDER / file)
        return Clip(described(media, f"{FOLDER}/{file}"), key=key, how=how)


@cache
def _code() -> str:
    """A digest of the modules that say what a clip is and convert it."""
    modules = (container, conversion, probing, reader)
    return hashlib.sha256(b"\0".join(Path(str(each.__file__)).read_bytes() for each in modules)).hexdigest()


def _checked(media: Mapping[str, Any]) -> dict[str, Any]:
    """A note of `described`, whose file may be damaged."""
    width, height = media["size"]
    end = media["duration_s"]
    if not (width >= 1 and height >= 1 and (end is None or end > 0) and media["kind"] in ("video", "image")):
        raise ValueError(f"not the facts of a clip: {media}")
    return {"url": str(media["url"]), "kind": media["kind"], "size": [width, height], "duration_s": end}
