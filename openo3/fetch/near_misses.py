"""Name the file of a folder that a missing path probably means.

NearMisses(Path("my_clips")).hint("videos/chaplin.mp4")
-> "videos/Chaplin.MP4 is there; upper and lower case differ"
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from unicodedata import is_normalized, normalize

from openo3.fetch.path_suffixes import clip_name
from openo3.files.safe_path import Root, UnsafePath

MAX_NAMES = 500_000
"""How many names are listed in all, so that time and memory are bounded for folders of any size."""


class NearMisses:
    """Looks for files whose path differs in case, normal form, a video's ending or by a doubled first folder.

    Each folder is listed once, when the first of its files is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, dict[str, str]] = {}  # by folder: its names by themselves and by `_key`
        self._roots: dict[str, Root] = {}  # by first folder
        self._left = MAX_NAMES

    def hint(self, path: str) -> str:
        """One line about the file that is there instead of the safe relative `path`, or an empty text.

        The first folder may be a link, as a user has it; the rest of the path must stay below it.
        """
        for wanted in _variants(path):
            found = self._like(wanted) or self._like(clip_name(wanted))
            if found and found != path:
                return f"{found} is there; {_difference(wanted, found, path)}"
        return ""

    def _like(self, path: str) -> str | None:
        """The regular file below the folder that equals `path` but for case and normal form, or the video
        whose name without its ending does."""
        found = ""
        for part in path.split("/"):
            names = self._listed(found)
            part = names.get(part) or names.get(_key(part))
            if part is None:
                return None
            found = f"{found}/{part}" if found else part
        first, _, rest = found.partition("/")
        try:
            root = self._roots.setdefault(first, Root(self._folder / first))
            return found if root.find(rest) else None
        except UnsafePath:
            return None

    def _listed(self, folder: str) -> dict[str, str]:
        if folder not in self._names:
            names: list[str] = []
            try:
                with os.scandir(self._folder / folder) as entries:
                    names = [entry.name for entry in islice(entries, self._left)]
            except OSError:  # no folder, or none that can be read
                pass
            self._left -= len(names)
            names.sort()
            clips = {_key(clip): name for name in names if (clip := clip_name(name)) != name}
            self._names[folder] = clips | {_key(name): name for name in names} | {n: n for n in names}
        return self._names[folder]


def _key(name: str) -> str:
    """The same for names that differ in case or normal form alone."""
    return normalize("NFC", normalize("NFC", name).casefold())


def _variants(path: str) -> Iterator[str]:
    """The path, and the path with its first folder once more and once less."""
    yield path
    first, _, rest = path.partition("/")
    yield f"{first}/{path}"
    if rest.startswith(f"{first}/"):
        yield rest


def _difference(wanted: str, found: str, path: str) -> str:
    if wanted != path:
        return f"a path in a record starts below {path.partition('/')[0]}/"
    if clip_name(found) == wanted:
        return "the record's name lacks the ending"
    if clip_name(found) == clip_name(wanted) and _key(found) != _key(wanted):
        return "the record's name has another ending"
    wanted, found = clip_name(wanted), clip_name(found)
    if normalize("NFC", wanted) == normalize("NFC", found):
        forms = [
            next((f for f in ("NFC", "NFD") if is_normalized(f, text)), "mixed") for text in (found, wanted)
        ]
        return f"its name is in Unicode form {forms[0]}, the record's in {forms[1]}"
    return "upper and lower case differ"
