"""The bytes of a stream, decompressed if it is compressed, within bounds.

    Unpacked(stream, inflation=100).read(10_240)         of gzip, bzip2, xz, or as they are

A few hundred bytes of bzip2 may stand for gigabytes. Every step yields at most `PIECE` bytes, and all of them
together at most `inflation` times what was read.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from tarfile import ReadError
from typing import BinaryIO, Protocol

from openo3.fetch.random_access import PIECE

_LEAST = 10_000  # packed bytes that count at the least: a small archive of zeros is no bomb
_INPUT = 1 << 16
_LZMA_MEMORY = 256 << 20
_READS_AT_END = 64  # tarfile passes over a member without noticing that the file has ended


class _Decompressor(Protocol):
    """As `bz2.BZ2Decompressor`."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


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

    def decompress(self, data: bytes, max_length: int) -> bytes:
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
    """Raises `tarfile.ReadError` for damaged data and beyond the bound, `EOFError` if read on at its end."""

    def __init__(self, stream: BinaryIO, inflation: float) -> None:
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
            if self._reads_at_end > _READS_AT_END:
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
                piece = self._decompressor.decompress(data, count)
            except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, MemoryError) as error:
                raise ReadError(str(error)) from None
            if self._decompressor.eof:
                self._input = self._decompressor.unused_data or self._next()
                self._decompressor = _new(self._input)  # of several streams the next one; padding ends it
            self._unpacked += len(piece)
            if self._unpacked > self._inflation * max(self._packed, _LEAST):
                raise ReadError(f"it unpacks to more than {self._inflation:g} times its packed size")
            if piece:
                return piece
        return b""
