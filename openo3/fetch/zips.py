"""Read members of zip archives, whole or split (`a.z01 ... a.zip`), without reading the rest of the archive.

    archive = ZipArchive.open(file, part=lambda name: ...)
    archive.members          every file in it: name, sizes, CRC, start and end

`zipfile` parses the directory and unpacks members. It does not support split archives, whose directory gives
positions as (disk, offset on that disk). This module therefore reads the end record itself (APPNOTE 4.3.14 to
4.3.16) and passes the directory to zipfile as an archive of its own, with its numbers unchanged.
"""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, cast

from openo3.fetch.limits import GB, Limits
from openo3.fetch.origin import ByteStream
from openo3.fetch.plan import Unavailable
from openo3.fetch.random_access import Parts, RandomAccessFile, Span, exactly, read, skip
from openo3.fetch.tars import DAMAGED

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_LOCAL = struct.Struct("<4s5H3L2H")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # the memory of LZMA is unbounded
_MAX_DIRECTORY = 1 << 28  # two million members


@dataclass(frozen=True)
class ZipMember:
    """A file in an archive: its header and packed bytes lie between `start` and `end` of `archive.file`."""

    archive: ZipArchive = field(repr=False, compare=False)
    info: zipfile.ZipInfo = field(repr=False, compare=False)
    start: int
    end: int

    sha256 = None

    @property
    def path(self) -> str:
        return self.info.filename

    @property
    def name(self) -> str:
        return f"{self.archive.file.name}#{self.path}"

    @property
    def address(self) -> str | None:
        return None if self.archive.file.address is None else f"{self.archive.file.address}#{self.path}"

    @property
    def size(self) -> int:
        return self.info.file_size

    @property
    def traffic(self) -> int:
        return self.info.compress_size

    @property
    def crc32(self) -> int:
        return self.info.CRC

    @property
    def identity(self) -> str:
        return f"{self.archive.identity}#{self.path} {self.size} {self.crc32:08x}"

    @property
    def resumable(self) -> bool:
        """Stored (uncompressed) members can be read from any position."""
        return self.info.compress_type == zipfile.ZIP_STORED

    def check(self, limits: Limits) -> None:
        """Raise `Unavailable` if it is not a file, cannot be read, or declares the sizes of a zip bomb."""
        info = self.info
        if info.flag_bits & 1:
            raise Unavailable("unreadable", f"{self.name}: encrypted")
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise Unavailable("unsafe", f"{self.name}: a link or device, not a file")
        if self.size > limits.file_gb * GB:
            raise Unavailable(
                "unreadable", f"{self.name}: {self.size / GB:.1f} GB, at most {limits.file_gb:g}"
            )
        if self.size > limits.inflation * max(info.compress_size, 10_000):
            times = self.size / max(info.compress_size, 1)
            raise Unavailable("unreadable", f"{self.name}: unpacks to {times:,.0f} times its packed size")
        if info.compress_type not in _METHODS:
            raise Unavailable(
                "unreadable", f"{self.name}: compression method {info.compress_type} is not supported"
            )
        if self.start + _LOCAL.size + len(info.orig_filename) + info.compress_size > self.end:
            raise Unavailable("unreadable", f"{self.name}: overlaps another member")

    def open(self, packed: ByteStream) -> ByteStream:
        """The content. `packed` is a stream at `start`. Raises `Unavailable` for a damaged member."""
        self._skip_header(packed)
        if self.resumable:
            return Span(packed, self.size)
        try:
            return cast(ByteStream, zipfile.ZipExtFile(cast(IO[bytes], packed), "r", self.info))
        except NotImplementedError as error:
            raise Unavailable("unreadable", f"{self.name}: {error}") from None

    def open_from(self, position: int) -> ByteStream:
        """The content from a position on. The member must be `resumable`."""
        with self.archive.file.stream(self.start, self.end) as header:
            length = self._skip_header(header)
        begin = self.start + length
        return self.archive.file.stream(begin + position, begin + self.size)

    def _skip_header(self, stream: ByteStream) -> int:
        """Skip the local header and return its length."""
        header = _LOCAL.unpack(exactly(stream, _LOCAL.size))
        if header[0] != b"PK\3\4" or header[9] > len(self.info.orig_filename.encode()) + 4:
            raise Unavailable("unreadable", f"{self.name}: damaged, no member at its stated position")
        skip(stream, header[9] + header[10])
        return _LOCAL.size + header[9] + header[10]


@dataclass(frozen=True, eq=False)
class ZipArchive:
    file: RandomAccessFile
    infos: tuple[zipfile.ZipInfo, ...] = field(repr=False)
    starts: tuple[int, ...] = field(repr=False)
    """The start of each member, in the order of the directory."""
    directory: int
    """The start of the directory, which is the end of the last member."""

    @classmethod
    def open(cls, last: RandomAccessFile, part: Callable[[str], RandomAccessFile]) -> ZipArchive:
        """Read the directory of an archive.

        `last` is the archive, or the last part of a split archive. `part(".z01")` returns another part.

        Raises `Unavailable` if it is not an archive, or damaged.
        """
        try:
            return cls._read(last, part)
        except (zipfile.BadZipFile, *DAMAGED) as error:
            said = str(error).split("\n")[0][:200] or type(error).__name__
            raise Unavailable("unreadable", f"{last.name}: not a readable zip archive ({said})") from None

    @classmethod
    def _read(cls, last: RandomAccessFile, part: Callable[[str], RandomAccessFile]) -> ZipArchive:
        last_size = _size(last)
        end = _EndRecord.find(last)
        file, starts = last, [0, last_size]
        if end.disk:
            parts = [*(part(f".z{number:02d}") for number in range(1, end.disk + 1)), last]
            for each in parts:
                _size(each)
            file = Parts(parts)
            starts = file.starts
        if end.zip64:  # large archives have a zip64 record as well
            disk, offset = end.zip64
            end = end.with_zip64(read(file, starts[disk] + offset, starts[disk] + offset + _END64.size))
        if end.size > _MAX_DIRECTORY or end.directory_disk > end.disk:
            raise ValueError("damaged end record")
        begin = starts[end.directory_disk] + end.offset
        if begin + end.size > starts[-1]:
            raise ValueError("its directory lies behind its end")
        # offsets do not count bytes before the archive, such as a self-extracting program
        shift = 0 if end.disk else max(0, last_size - end.tail - end.size - end.offset)
        directory = read(file, begin + shift, begin + shift + end.size)
        infos = _infos(directory + _END.pack(b"PK\5\6", 0, 0, 0, 0, end.size, 0, 0))
        if len(infos) != end.count:
            raise ValueError(f"{len(infos)} members, but {end.count} are declared")
        places = tuple(starts[info.volume] + info.header_offset + shift for info in infos)
        return cls(file, tuple(infos), places, begin + shift)

    @cached_property
    def members(self) -> list[ZipMember]:
        """The members in the order of their positions, without folders."""
        order = sorted(range(len(self.infos)), key=self.starts.__getitem__)
        ends = [*(self.starts[index] for index in order[1:]), self.directory][: len(order)]
        return [
            ZipMember(self, self.infos[index], self.starts[index], end)
            for index, end in zip(order, ends, strict=True)
            if not self.infos[index].filename.endswith("/")
        ]

    @cached_property
    def identity(self) -> str:
        return hashlib.sha256(self.file.identity.encode()).hexdigest()


def _size(file: RandomAccessFile) -> int:
    if file.size is None:
        why = "the server does not state its size, so the archive's directory cannot be found"
        raise Unavailable("unreadable", f"{file.name}: {why}")
    return file.size


def _infos(archive: bytes) -> list[zipfile.ZipInfo]:
    """The entries of the directory. Names without a declared encoding are UTF-8, or else cp437."""
    try:
        return zipfile.ZipFile(io.BytesIO(archive), metadata_encoding="utf-8").infolist()
    except UnicodeDecodeError:
        return zipfile.ZipFile(io.BytesIO(archive)).infolist()


@dataclass(frozen=True)
class _EndRecord:
    """The end record of an archive.

    `zip64` is the position (disk, offset) of the zip64 record, if there is one. `tail` is the number of bytes
    on the last disk that follow the directory.
    """

    disk: int
    directory_disk: int
    count: int
    size: int
    offset: int
    tail: int
    zip64: tuple[int, int] | None = None

    @classmethod
    def find(cls, last: RandomAccessFile) -> _EndRecord:
        longest = _LOCATOR64.size + _END.size + 0xFFFF
        size_of_last = _size(last)
        tail = read(last, max(0, size_of_last - longest), size_of_last)
        at = tail.rfind(b"PK\5\6")
        if at < 0:
            raise ValueError("it has no end record")
        _, disk, directory_disk, _, count, size, offset, _ = _END.unpack_from(tail, at)
        after = len(tail) - at
        if tail[max(0, at - _LOCATOR64.size) :].startswith(b"PK\6\7"):
            _, zip64_disk, zip64_offset, disks = _LOCATOR64.unpack_from(tail, at - _LOCATOR64.size)
            zip64 = (zip64_disk, zip64_offset)
            return cls(
                disks - 1, directory_disk, count, size, offset, after + _LOCATOR64.size + _END64.size, zip64
            )
        return cls(disk, directory_disk, count, size, offset, after)

    def with_zip64(self, record: bytes) -> _EndRecord:
        sign, _, _, _, disk, directory_disk, _, count, size, offset = _END64.unpack(record)
        if sign != b"PK\6\6" or disk != self.disk:
            raise ValueError("damaged end record")
        return _EndRecord(disk, directory_disk, count, size, offset, self.tail)
