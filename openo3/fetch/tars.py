"""Read members of tars, compressed or not, in one pass that ends when all wanted members are read.

A tar has no directory, so its members and their sizes are unknown until it has been read. A `TarMember` may
therefore not exist; it is reported as missing when the pass ends without it.

Archives are untrusted. `openo3.fetch.unpacking` limits the output of decompression. Sparse members are
refused, because they expand to bytes that were never stored. If `tarfile` raises an error, the rest is
refused.
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
from typing import Any, NoReturn

from openo3.fetch.limits import GB, Limits
from openo3.fetch.origin import ByteStream
from openo3.fetch.plan import Unavailable
from openo3.fetch.random_access import RandomAccessFile
from openo3.fetch.unpacking import Unpacked
from openo3.files.safe_path import UnsafePath, relative

DAMAGED = (
    *(tarfile.TarError, zlib.error, LZMAError, struct.error, EOFError, LookupError, OverflowError),
    *(MemoryError, NotImplementedError, RecursionError, ValueError),
)
"""The exceptions of tarfile, zipfile and the decompressors for damaged or hostile input."""
_MAX_HEADER = 1 << 20


class _TarInfo(tarfile.TarInfo):
    """A member whose header size is limited, since tarfile reads long names and extended headers whole."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isreg() and self.size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        tarfile_member: Any = super()  # `_proc_member` is private, hence missing from the type hints
        return tarfile_member._proc_member(tar)

    def _refuse_sparse(self, *_: object) -> NoReturn:
        raise tarfile.ReadError("a sparse member")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


@dataclass(frozen=True)
class TarSeries:
    """One tar, or several that are searched in order."""

    files: tuple[RandomAccessFile, ...]

    @property
    def name(self) -> str:
        return " ".join(file.name for file in self.files)

    @property
    def size(self) -> int:
        return sum(file.size or 0 for file in self.files)

    @cached_property
    def identity(self) -> str:
        return hashlib.sha256("\n".join(file.identity for file in self.files).encode()).hexdigest()


@dataclass(frozen=True)
class TarMember:
    """The member whose path is `path` or ends in it."""

    series: TarSeries = field(repr=False)
    path: str

    size = traffic = sha256 = crc32 = None
    resumable = False

    @property
    def name(self) -> str:
        return f"{self.series.name}#{self.path}"

    @property
    def address(self) -> str | None:
        known = [file.address for file in self.series.files if file.address is not None]
        return f"{' '.join(known)}#{self.path}" if len(known) == len(self.series.files) else None

    @property
    def identity(self) -> str:
        return f"{self.series.identity}#{self.path}"


def members(
    series: TarSeries, paths: Sequence[str], limits: Limits
) -> Iterator[tuple[str, ByteStream | Unavailable]]:
    """Each of `paths` that exists, in the order of the tar: its content, or the reason for refusing it.

    Raises `Unavailable` if a tar cannot be read any further.
    """
    wanted = set(paths)
    for file in series.files:
        with ExitStack() as stack:
            try:
                stream = stack.enter_context(file.stream())
                unpacked: Any = Unpacked(stream, limits.inflation)  # in stream mode tarfile calls only `read`
                tar: Any = stack.enter_context(tarfile.open(fileobj=unpacked, mode="r|", tarinfo=_TarInfo))
                while (info := tar.next()) is not None:
                    tar.members = []  # otherwise tarfile keeps every header
                    if info.size > limits.file_gb * GB:
                        size = f"{info.size / GB:.1f} GB, at most {limits.file_gb:g}"
                        raise Unavailable("unreadable", f"{file.name}: declares a member of {size}")
                    if (path := _match(info.name, wanted)) is None:
                        continue
                    wanted.remove(path)
                    if content := tar.extractfile(info) if info.isreg() else None:
                        yield path, content
                    else:
                        yield path, Unavailable("unsafe", f"{file.name}#{path}: a link or device, not a file")
                    if not wanted:
                        return
            except DAMAGED as error:
                said = str(error).split("\n")[0][:200] or type(error).__name__
                raise Unavailable("unreadable", f"{file.name}: damaged tar ({said})") from None


def _match(name: str, wanted: set[str]) -> str | None:
    """The longest wanted path in which `name` ends. Paths that lead out of the tar match nothing."""
    try:
        parts = relative(name).split("/")
    except UnsafePath:
        return None
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if end in wanted), None)
