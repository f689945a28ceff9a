"""Check a file's content while it is received."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from openo3.fetch.http import HttpFile
from openo3.fetch.limits import GB, Limits
from openo3.fetch.origin import Origin
from openo3.fetch.plan import Item, Unavailable
from openo3.fetch.random_access import PIECE, LocalFile


class ContentChecks:
    """Checks a file piece by piece with `add`, then as a whole with `finish`.

    Both raise `Unavailable` for wrong content.
    """

    def __init__(self, item: Item, limits: Limits) -> None:
        self._item, self._most = item, int(limits.file_gb * GB)
        self._sha256, self._crc32, self._size = hashlib.sha256(), 0, 0
        self._git = _GitId.of(item.origin)

    def add(self, piece: bytes) -> None:
        if not self._size and self._item.target.startswith("media/") and _is_web_page(piece):
            raise Unavailable("unreadable", f"{self._item.origin.name}: a web page instead of the file")
        self._size += len(piece)
        if not isinstance(self._item.origin, LocalFile) and self._size > self._most:
            raise Unavailable("unreadable", f"{self._item.origin.name}: more than {self._most / GB:g} GB")
        self._sha256.update(piece)
        if self._git:
            self._git.sha1.update(piece)
        if self._item.origin.crc32 is not None:
            self._crc32 = zlib.crc32(piece, self._crc32)

    def finish(self) -> str:
        """Check size and digests of the whole file, and return its sha256."""
        origin, digest = self._item.origin, self._sha256.hexdigest()
        if origin.size is not None and self._size != origin.size and not isinstance(origin, LocalFile):
            raise Unavailable("unreadable", f"{origin.name}: {self._size:,} bytes, {origin.size:,} expected")
        if origin.crc32 not in (None, self._crc32):
            raise Unavailable("unreadable", f"{origin.name}: damaged, its CRC is wrong")
        if origin.sha256 not in (None, digest):
            raise Unavailable("unreadable", f"{origin.name}: damaged, its sha256 is wrong")
        if self._git and self._git.sha1.hexdigest() != self._git.expected:
            raise Unavailable("unreadable", f"{origin.name}: damaged, its git ID is wrong")
        return digest


@dataclass(frozen=True)
class _GitId:
    """git's ID of a file: the SHA-1 of a header with the size, followed by the content."""

    expected: str
    sha1: hashlib._Hash

    @classmethod
    def of(cls, origin: Origin) -> _GitId | None:
        if not isinstance(origin, HttpFile) or origin.git is None or origin.size is None:
            return None
        return cls(origin.git, hashlib.sha1(b"blob %d\0" % origin.size, usedforsecurity=False))


def _is_web_page(piece: bytes) -> bool:
    return piece[:512].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def crc32(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            value = zlib.crc32(piece, value)
    return value
