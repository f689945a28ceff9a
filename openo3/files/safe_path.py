"""Paths that come from outside: nothing they name lies outside their root.

An annotation may say `4jujhM5qhEc_00:00:39:000_00:01:24:700.mp4`, `a clip @ home/é.mp4`, or
`../../etc/passwd`. `relative` looks at the words alone; `Root.find` looks at the disk, where a link may
lead out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path


class UnsafePath(ValueError):
    """The path does not stay below its root; the message says why."""


def relative(text: str) -> str:
    """The path in its shortest form, `a/b.mp4` for `./a//b.mp4`, so that one file has one name.

    Raises `UnsafePath` for a path that is empty, absolute, climbs with `..`, has backslashes (a separator
    on other systems), control characters, text that no file system takes, parts of more than 255 bytes, or
    more than 1,024 bytes in all: stages put paths below folders of their own, and Linux stops at 4,096.
    """
    if text.startswith("/"):
        raise UnsafePath("absolute")
    if "\\" in text:
        raise UnsafePath("has a backslash")
    if any(character < " " or character == "\x7f" for character in text):
        raise UnsafePath("has a control character")
    try:
        parts = text.encode().split(b"/")
    except UnicodeEncodeError:
        raise UnsafePath("is not Unicode") from None
    if max(map(len, parts)) > 255 or len(text.encode()) > 1024:
        raise UnsafePath("too long")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafePath("climbs out with ..")
    if not parts:
        raise UnsafePath("names no file")
    return "/".join(parts)


class Root:
    """A folder whose files are looked up by untrusted relative paths.

    Links may lead into the folder itself and into those that `trusted` gives: DVC's own lead into its cache.
    """

    def __init__(self, folder: str | Path, trusted: Callable[[], Iterable[str | Path]] = tuple) -> None:
        self.folder = Path(folder)
        self._home = os.path.realpath(folder) + os.sep
        self._trusted = trusted
        self._real_folders: dict[str, str] = {}  # many files share one folder

    @cached_property
    def _others(self) -> tuple[str, ...]:
        """Asked for only when a link leads out: it may take a second to know DVC's cache."""
        return tuple(os.path.realpath(folder) + os.sep for folder in self._trusted())

    def _holds(self, real: str) -> bool:
        return real.startswith(self._home) or real.startswith(self._others)

    def find(self, path: str) -> os.stat_result | None:
        """The status of the file `path` (as `relative` gave it) below the folder, None if there is none.

        Raises `UnsafePath` if links lead out of the folder, or to something that is no regular file.
        """
        folder, _, name = path.rpartition("/")
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(self.folder / folder)
        real = os.path.join(self._real_folders[folder], name)
        try:
            status = os.lstat(real)
            if stat.S_ISLNK(status.st_mode):
                real = os.path.realpath(real)
                status = os.lstat(real) if self._holds(real) else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        if status is None or not self._holds(real):
            raise UnsafePath("a link leads out")
        if not stat.S_ISREG(status.st_mode):
            raise UnsafePath("is no regular file")
        return status
