"""Random access to bytes.

blob = LocalFile(Path("stgr.zip"))
read(blob, blob.size - 22, blob.size)
Parts([LocalFile(Path("a.z01")), LocalFile(Path("a.zip"))])      one after the other, as one
"""

from __future__ import annotations

import hashlib
import io
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Protocol

from openo3.fetch.origin import Origin

PIECE = 1 << 18


class RandomAccessFile(Origin, Protocol):
    """`stream` reads from byte `start` to `end`, in order; a read may give less than was asked for."""

    def stream(self, start: int = 0, end: int | None = None) -> BinaryIO: ...


class LocalFile:
    """A file on this machine; another time or size makes it another one. `address`: where it came from."""

    sha256 = crc32 = None
    resumable = False  # copying it again is as quick

    def __init__(self, path: Path, address: str | None = None) -> None:
        self.path, self.address = path, address

    @cached_property
    def status(self) -> os.stat_result:
        return os.stat(self.path)

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        return self.status.st_size

    @property
    def traffic(self) -> int:
        return self.size

    @property
    def identity(self) -> str:
        return f"{os.path.abspath(self.path)} {self.size} {self.status.st_mtime_ns}"

    def stream(self, start: int = 0, end: int | None = None) -> BinaryIO:
        file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (the caller closes it)
        file.seek(start)
        return file if end is None else Span(file, end - start)


class Parts:
    """Blobs of known size one after the other, as one: the parts of a split archive."""

    sha256 = crc32 = None
    resumable = True

    def __init__(self, blobs: Sequence[RandomAccessFile]) -> None:
        self.blobs = blobs
        self.starts = [0, *accumulate(blob.size for blob in blobs)]

    @property
    def name(self) -> str:
        return self.blobs[-1].name

    @property
    def address(self) -> str | None:
        return self.blobs[-1].address

    @property
    def size(self) -> int:
        return self.starts[-1]

    @property
    def traffic(self) -> int:
        return self.size

    @cached_property
    def identity(self) -> str:
        names = "\n".join(blob.identity for blob in self.blobs)
        return f"parts {hashlib.sha256(names.encode()).hexdigest()}"

    def stream(self, start: int = 0, end: int | None = None) -> BinaryIO:
        return _Chain(self._spans(start, self.size if end is None else end))

    def _spans(self, start: int, end: int) -> Iterator[BinaryIO]:
        for number in range(bisect_right(self.starts, start) - 1, len(self.blobs)):
            first, after = self.starts[number], self.starts[number + 1]
            if first >= end:
                return
            yield self.blobs[number].stream(max(start, first) - first, min(end, after) - first)


class Span(io.RawIOBase):
    """The next `length` bytes of a stream; closing it closes the stream."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream, self.left = stream, length

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        if not self.left:
            return b""
        piece = self._stream.read(self.left if count < 0 else min(count, self.left))
        self.left -= len(piece)
        return piece

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Chain(io.RawIOBase):
    """Streams one after the other; each is opened when its turn comes."""

    def __init__(self, streams: Iterator[BinaryIO]) -> None:
        self._streams = streams
        self._now: BinaryIO | None = next(streams, None)

    def readable(self) -> bool:
        return True

    def read(self, count: int = PIECE) -> bytes:
        while count and self._now is not None:
            if piece := self._now.read(count):
                return piece
            self._now.close()
            self._now = next(self._streams, None)
        return b""

    def close(self) -> None:
        if self._now is not None:
            self._now.close()
        super().close()


def read(blob: RandomAccessFile, start: int, end: int) -> bytes:
    """Exactly these bytes. Raises `EOFError` if the blob ends before."""
    with blob.stream(start, end) as stream:
        return exactly(stream, end - start)


def exactly(stream: BinaryIO, count: int) -> bytes:
    """The next `count` bytes. Raises `EOFError` if there are fewer."""
    pieces = []
    while count:
        piece = stream.read(count)
        if not piece:
            raise EOFError(f"{count} bytes too short")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def skip(stream: BinaryIO, count: int) -> None:
    """Read and discard `count` bytes. Raises `EOFError` if the stream ends before."""
    while count:
        piece = stream.read(min(count, PIECE))
        if not piece:
            raise EOFError(f"{count} bytes too short")
        count -= len(piece)
