"""Decompress a stream within bounds, if it is compressed.

    Unpacked(stream, inflation=100).read(10_240)         of gzip, bzip2, xz, or uncompressed

A few hundred bytes of bzip2 can expand to gigabytes. Each step yields at most `PIECE` bytes, and the total is
at most `inflation` times the number of bytes read.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from tarfile import ReadError
from typing import Protocol

from openo3.fetch.origin import ByteStream
from openo3.fetch.random_access import PIECE

_MIN_PACKED = 10_000  # least packed size to count, so that a small archive of zeros is not taken for a bomb
_INPUT = 1 << 16
_LZMA_MEMORY = 256 << 20
_MAX_READS_AT_END = 64  # tarfile skips a member without noticing that the file has ended


class _Decompressor(Protocol):
    """The interface of `bz2.BZ2Decompressor`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _new(head: bytes) -> _Decompressor | None:
    if head.startswith(b"\x1f\x8b"):
        return _Gzip()
    if head.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)
    return None


class Unpacked:
    """A stream of decompressed bytes.

    Raises `tarfile.ReadError` for damaged data and beyond the bound, and `EOFError` if a caller keeps reading
    at the end.
    """

    def __init__(self, stream: ByteStream, inflation: float) -> None:
        self._stream, self._inflation = stream, inflation
        self._packed = self._unpacked = self._reads_at_end = 0
        self._input = b""
        while len(self._input) < 6 and (piece := self._next()):
            self._input += piece
        self._decompressor = _new(self._input)
        self._compressed = self._decompressor is not None

    def read(self, count: int) -> bytes:
        """At most `count` bytes; empty at the end."""
        if self._compressed:
            piece = self._decompress(min(count, PIECE))
        else:
            data = self._input or self._next()
            piece, self._input = data[:count], data[count:]
        if not piece and count:
            self._reads_at_end += 1
            if self._reads_at_end > _MAX_READS_AT_END:
                raise EOFError("it ends inside a member")
        return piece

    def _next(self) -> bytes:
        piece = self._stream.read(_INPUT)
        self._packed += len(piece)
        return piece

    def _decompress(self, count: int) -> bytes:
        while self._decompressor is not None:
            if self._decompressor.needs_input and not self._input:
                self._input = self._next()
                if not self._input:
                    raise ReadError("it ends inside compressed data")
            data, self._input = self._input, b""
            try:
                piece = self._decompressor.decompress(data, max_length=count)
            except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, MemoryError) as error:
                raise ReadError(str(error)) from None
            if self._decompressor.eof:
                self._input = self._decompressor.unused_data or self._next()
                self._decompressor = _new(self._input)  # the next of several streams; padding ends the last
            self._unpacked += len(piece)
            if self._unpacked > self._inflation * max(self._packed, _MIN_PACKED):
                raise ReadError(f"it unpacks to more than {self._inflation:g} times its packed size")
            if piece:
                return piece
        return b""
