"""Random access to bytes.

file = LocalFile(Path("stgr.zip"))
read(file, file.size - 22, file.size)                            its last 22 bytes
Parts([LocalFile(Path("a.z01")), LocalFile(Path("a.zip"))])      the parts of a split archive, concatenated
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
from typing import Protocol

from openo3.fetch.origin import ByteStream, Origin

PIECE = 1 << 18


class RandomAccessFile(Origin, Protocol):
    """A file that can be read from any position. `stream` reads from byte `start` to `end`, in order."""

    def stream(self, start: int = 0, end: int | None = None) -> ByteStream: ...


class LocalFile:
    """A file on this machine. Its identity changes whenever it is written to or replaced: the change time,
    unlike the modification time, is not set by programs.

    `address` is where it was fetched from, if known.
    """

    sha256 = crc32 = None
    resumable = False  # copying it again is as fast

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
        status = self.status
        times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
        return f"{os.path.abspath(self.path)} {self.size} {times} {status.st_dev}:{status.st_ino}"

    def stream(self, start: int = 0, end: int | None = None) -> ByteStream:
        file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (the caller closes it)
        file.seek(start)
        return file if end is None else Span(file, end - start)


class Parts:
    """The concatenation of files of known size: the parts of a split archive."""

    sha256 = crc32 = None
    resumable = True

    def __init__(self, files: Sequence[RandomAccessFile]) -> None:
        self.files = files
        self.starts = [0, *accumulate(file.size or 0 for file in files)]

    @property
    def name(self) -> str:
        return self.files[-1].name

    @property
    def address(self) -> str | None:
        return self.files[-1].address

    @property
    def size(self) -> int:
        return self.starts[-1]

    @property
    def traffic(self) -> int:
        return self.size

    @property
    def identity(self) -> str:
        names = "\n".join(file.identity for file in self.files)
        return f"parts {hashlib.sha256(names.encode()).hexdigest()}"

    def stream(self, start: int = 0, end: int | None = None) -> ByteStream:
        return _Chain(self._spans(start, self.size if end is None else end))

    def _spans(self, start: int, end: int) -> Iterator[ByteStream]:
        for number in range(bisect_right(self.starts, start) - 1, len(self.files)):
            first, after = self.starts[number], self.starts[number + 1]
            if first >= end:
                return
            yield self.files[number].stream(max(start, first) - first, min(end, after) - first)


class Span(io.RawIOBase):
    """The next `length` bytes of a stream. Closing it closes the stream."""

    def __init__(self, stream: ByteStream, length: int) -> None:
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
    """The concatenation of streams. Each stream is opened when the one before it ends."""

    def __init__(self, streams: Iterator[ByteStream]) -> None:
        self._streams = streams
        self._current: ByteStream | None = next(streams, None)

    def readable(self) -> bool:
        return True

    def read(self, count: int = PIECE) -> bytes:
        while count and self._current is not None:
            if piece := self._current.read(count):
                return piece
            self._current.close()
            self._current = next(self._streams, None)
        return b""

    def close(self) -> None:
        if self._current is not None:
            self._current.close()
        super().close()


def read(file: RandomAccessFile, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`. Raises `EOFError` if the file ends before."""
    with file.stream(start, end) as stream:
        return exactly(stream, end - start)


def exactly(stream: ByteStream, count: int) -> bytes:
    """The next `count` bytes. Raises `EOFError` if there are fewer."""
    pieces = []
    while count:
        piece = stream.read(count)
        if not piece:
            raise EOFError(f"{count} bytes too short")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def skip(stream: ByteStream, count: int) -> None:
    """Read and discard `count` bytes. Raises `EOFError` if the stream ends before."""
    while count:
        piece = stream.read(min(count, PIECE))
        if not piece:
            raise EOFError(f"{count} bytes too short")
        count -= len(piece)
