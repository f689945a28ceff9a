"""Members of zip archives, whole or split (`a.z01 ... a.zip`), without reading the rest of the archive.

    archive = ZipArchive.open(blob, part=lambda name: ...)
    archive.members          every file in it: name, sizes, CRC, and from where to where it lies

`zipfile` reads the directory and unpacks. What it cannot do is split archives, whose directory gives places
as (disk, offset on that disk); so only the record at the archive's end is read here (APPNOTE 4.3.14 to
4.3.16), and zipfile gets the directory as an archive of its own, with the numbers left as they are.
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
from typing import BinaryIO

from openo3.fetch.limits import GB, Limits
from openo3.fetch.plan import Unavailable
from openo3.fetch.random_access import Parts, RandomAccessFile, Span, exactly, read, skip
from openo3.fetch.tars import DAMAGED

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_LOCAL = struct.Struct("<4s5H3L2H")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # LZMA's memory has no bound
_LARGEST_DIRECTORY = 1 << 28  # of two million members


@dataclass(frozen=True)
class ZipMember:
    """A file in an archive: its header and packed bytes lie between `start` and `end` of `archive.blob`."""

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
        return f"{self.archive.blob.name}#{self.path}"

    @property
    def address(self) -> str | None:
        return None if self.archive.blob.address is None else f"{self.archive.blob.address}#{self.path}"

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
        """What is packed as it is can be read from its middle."""
        return self.info.compress_type == zipfile.ZIP_STORED

    def check(self, limits: Limits) -> None:
        """Raises `Unavailable` if it is no file, cannot be read, or is a bomb by its own account."""
        info = self.info
        if info.flag_bits & 1:
            raise Unavailable("unreadable", f"{self.name}: encrypted")
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise Unavailable("unsafe", f"{self.name}: a link or device, no file")
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

    def open(self, packed: BinaryIO) -> BinaryIO:
        """The content; `packed` is a stream at its `start`. Raises `Unavailable` if it is damaged."""
        self._enter(packed)
        if self.resumable:
            return Span(packed, self.size)
        try:
            return zipfile.ZipExtFile(packed, "r", self.info)
        except NotImplementedError as error:
            raise Unavailable("unreadable", f"{self.name}: {error}") from None

    def open_from(self, position: int) -> BinaryIO:
        """The content from a position on, which must be `resumable`."""
        with self.archive.blob.stream(self.start, self.end) as header:
            length = self._enter(header)
        begin = self.start + length
        return self.archive.blob.stream(begin + position, begin + self.size)

    def _enter(self, stream: BinaryIO) -> int:
        """Pass over the local header; return its length."""
        header = _LOCAL.unpack(exactly(stream, _LOCAL.size))
        if header[0] != b"PK\3\4" or header[9] > len(self.info.orig_filename.encode()) + 4:
            raise Unavailable("unreadable", f"{self.name}: damaged, there is no member where one should be")
        skip(stream, header[9] + header[10])
        return _LOCAL.size + header[9] + header[10]


@dataclass(frozen=True, eq=False)
class ZipArchive:
    blob: RandomAccessFile
    infos: tuple[zipfile.ZipInfo, ...] = field(repr=False)
    starts: tuple[int, ...] = field(repr=False)
    """Where each member begins, by its order in the directory."""
    directory: int
    """Where the directory begins: the end of the last member."""

    @classmethod
    def open(cls, last: RandomAccessFile, part: Callable[[str], RandomAccessFile]) -> ZipArchive:
        """`last` is the archive, or the last part of a split one; `part(".z01")` gives another of its parts.

        Raises `Unavailable` if that is no archive, or damaged.
        """
        try:
            return cls._read(_sized(last), lambda name: _sized(part(name)))
        except (zipfile.BadZipFile, *DAMAGED) as error:
            said = str(error).split("\n")[0][:200] or type(error).__name__
            raise Unavailable("unreadable", f"{last.name}: no readable zip archive ({said})") from None

    @classmethod
    def _read(cls, last: RandomAccessFile, part: Callable[[str], RandomAccessFile]) -> ZipArchive:
        end = _End.find(last)
        blob = last if not end.disk else Parts([*(part(f".z{n:02d}") for n in range(1, end.disk + 1)), last])
        starts = blob.starts if isinstance(blob, Parts) else [0, last.size]
        if end.far:  # the long form of the record, which large archives have as well
            disk, offset = end.far
            end = end.longer(read(blob, starts[disk] + offset, starts[disk] + offset + _END64.size))
        if end.size > _LARGEST_DIRECTORY or end.directory_disk > end.disk:
            raise ValueError("damaged record at its end")
        begin = starts[end.directory_disk] + end.offset
        if begin + end.size > blob.size:
            raise ValueError("its directory would lie behind its end")
        # bytes before the archive, a program that unpacks it say, are not counted in its numbers
        shift = 0 if end.disk else max(0, last.size - end.tail - end.size - end.offset)
        directory = read(blob, begin + shift, begin + shift + end.size)
        infos = _infos(directory + _END.pack(b"PK\5\6", 0, 0, 0, 0, end.size, 0, 0))
        if len(infos) != end.count:
            raise ValueError(f"{len(infos)} members, {end.count} are declared")
        places = tuple(starts[info.volume] + info.header_offset + shift for info in infos)
        return cls(blob, tuple(infos), places, begin + shift)

    @cached_property
    def members(self) -> list[ZipMember]:
        """In the order in which they lie; folders are left out."""
        order = sorted(range(len(self.infos)), key=self.starts.__getitem__)
        ends = [*(self.starts[index] for index in order[1:]), self.directory][: len(order)]
        return [
            ZipMember(self, self.infos[index], self.starts[index], end)
            for index, end in zip(order, ends, strict=True)
            if not self.infos[index].filename.endswith("/")
        ]

    @cached_property
    def identity(self) -> str:
        return hashlib.sha256(self.blob.identity.encode()).hexdigest()


def _sized(blob: RandomAccessFile) -> RandomAccessFile:
    if blob.size is None:
        raise Unavailable("unreadable", f"{blob.name}: its server tells no size, so its end cannot be found")
    return blob


def _infos(archive: bytes) -> list[zipfile.ZipInfo]:
    """Names whose encoding is not said are UTF-8 nowadays, and if they cannot be, what they were in 1990."""
    try:
        return zipfile.ZipFile(io.BytesIO(archive), metadata_encoding="utf-8").infolist()
    except UnicodeDecodeError:
        return zipfile.ZipFile(io.BytesIO(archive)).infolist()


@dataclass(frozen=True)
class _End:
    """The record at the archive's end. `far` is where its long form is, (disk, offset), if there is one;
    `tail` is how many bytes of the last disk follow the directory."""

    disk: int
    directory_disk: int
    count: int
    size: int
    offset: int
    tail: int
    far: tuple[int, int] | None = None

    @classmethod
    def find(cls, last: RandomAccessFile) -> _End:
        longest = _LOCATOR64.size + _END.size + 0xFFFF
        tail = read(last, max(0, last.size - longest), last.size)
        at = tail.rfind(b"PK\5\6")
        if at < 0:
            raise ValueError("its end has no directory")
        _, disk, directory_disk, _, count, size, offset, _ = _END.unpack_from(tail, at)
        after = len(tail) - at
        if tail[max(0, at - _LOCATOR64.size) :].startswith(b"PK\6\7"):
            _, far_disk, far_offset, disks = _LOCATOR64.unpack_from(tail, at - _LOCATOR64.size)
            far = (far_disk, far_offset)
            return cls(
                disks - 1, directory_disk, count, size, offset, after + _LOCATOR64.size + _END64.size, far
            )
        return cls(disk, directory_disk, count, size, offset, after)

    def longer(self, record: bytes) -> _End:
        sign, _, _, _, disk, directory_disk, _, count, size, offset = _END64.unpack(record)
        if sign != b"PK\6\6" or disk != self.disk:
            raise ValueError("damaged record at its end")
        return _End(disk, directory_disk, count, size, offset, self.tail)
