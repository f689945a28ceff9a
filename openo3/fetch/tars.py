"""Members of tars, compressed or not, in one pass that ends as soon as every wanted member has come.

A tar has no directory: its members and their sizes are known only when it has been read. So a wanted file is
a `TarMember` on trust, and is reported as missing when the pass ends without it.

Archives are untrusted. `openo3.fetch.unpacking` bounds what decompression may yield, sparse members are
refused because they write bytes that were never stored, and whatever `tarfile` raises refuses the rest.
"""

from __future__ import annotations

import hashlib
import struct
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from lzma import LZMAError
from typing import BinaryIO, NoReturn

from openo3.fetch.limits import GB, Limits
from openo3.fetch.plan import Unavailable
from openo3.fetch.random_access import RandomAccessFile
from openo3.fetch.unpacking import Unpacked
from openo3.files.safe_path import UnsafePath, relative

DAMAGED = (
    *(tarfile.TarError, zlib.error, LZMAError, struct.error, EOFError, LookupError, OverflowError),
    *(MemoryError, NotImplementedError, RecursionError, ValueError),
)
"""What tarfile, zipfile and the decompressors raise for damaged or hostile input."""
_LONGEST_HEADER = 1 << 20


class _TarInfo(tarfile.TarInfo):
    """A member whose header may not be endless: tarfile reads long names and extended headers whole."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isreg() and self.size > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)

    def _refuse_sparse(self, *_: object) -> NoReturn:
        raise tarfile.ReadError("a sparse member")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


@dataclass(frozen=True)
class TarSeries:
    """One tar, or several that are searched one after the other."""

    blobs: tuple[RandomAccessFile, ...]

    @property
    def name(self) -> str:
        return " ".join(blob.name for blob in self.blobs)

    @property
    def size(self) -> int:
        return sum(blob.size or 0 for blob in self.blobs)

    @cached_property
    def identity(self) -> str:
        return hashlib.sha256("\n".join(blob.identity for blob in self.blobs).encode()).hexdigest()


@dataclass(frozen=True)
class TarMember:
    """The member whose path is `path`, or ends in it below one folder or several."""

    series: TarSeries = field(repr=False)
    path: str

    size = traffic = sha256 = crc32 = None
    resumable = False

    @property
    def name(self) -> str:
        return f"{self.series.name}#{self.path}"

    @property
    def address(self) -> str | None:
        addresses = [blob.address for blob in self.series.blobs]
        return None if None in addresses else f"{' '.join(addresses)}#{self.path}"

    @property
    def identity(self) -> str:
        return f"{self.series.identity}#{self.path}"


def members(
    series: TarSeries, paths: Sequence[str], limits: Limits
) -> Iterator[tuple[str, BinaryIO | Unavailable]]:
    """Each of `paths` that is there, as it comes: its content, or why it is refused.

    Raises `Unavailable` if a tar cannot be read on.
    """
    wanted = set(paths)
    for blob in series.blobs:
        with ExitStack() as stack:
            try:
                stream = stack.enter_context(blob.stream())
                unpacked = Unpacked(stream, limits.inflation)
                tar = stack.enter_context(tarfile.open(fileobj=unpacked, mode="r|", tarinfo=_TarInfo))
                while (info := tar.next()) is not None:
                    tar.members = []  # it would keep every header that it has read
                    if info.size > limits.file_gb * GB:
                        size = f"{info.size / GB:.1f} GB, at most {limits.file_gb:g}"
                        raise Unavailable("unreadable", f"{blob.name}: declares a member of {size}")
                    if (path := _match(info.name, wanted)) is None:
                        continue
                    wanted.remove(path)
                    if info.isreg():
                        yield path, tar.extractfile(info)
                    else:
                        yield path, Unavailable("unsafe", f"{blob.name}#{path}: a link or device, no file")
                    if not wanted:
                        return
            except DAMAGED as error:
                said = str(error).split("\n")[0][:200] or type(error).__name__
                raise Unavailable("unreadable", f"{blob.name}: damaged tar ({said})") from None


def _match(name: str, wanted: set[str]) -> str | None:
    """The longest wanted path that the member's own ends in; none for a path that leads out of the tar."""
    try:
        parts = relative(name).split("/")
    except UnsafePath:
        return None
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if end in wanted), None)
