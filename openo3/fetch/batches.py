"""Groups of files that one pass fetches: a single file, a range of a zip archive, or members of tars."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, Self, TypeVar, cast

from openo3.fetch import tars
from openo3.fetch.limits import Limits
from openo3.fetch.origin import ByteStream
from openo3.fetch.plan import Item, Unavailable
from openo3.fetch.random_access import RandomAccessFile, skip
from openo3.fetch.tars import TarMember
from openo3.fetch.zips import ZipMember

DAMAGED = tars.DAMAGED
"""The exceptions of damaged or hostile archives."""

MAX_GAP = 1 << 18
"""Members with gaps of at most this many bytes are read in one range, gaps included."""

MAX_RANGE = 64 << 20
"""A range ends at the member that exceeds this many bytes; other connections read the next members."""


class Receiver(Protocol):
    """Receives the files of a batch.

    `take` gets an item and a function that opens its content at a position. It handles `Unavailable`, which
    concerns one file; other errors end the batch. `refuse` gets the reason why a file is unavailable.
    """

    def take(self, item: Item, open_at: Callable[[int], ByteStream]) -> None: ...
    def refuse(self, item: Item, why: Unavailable) -> None: ...


@dataclass(frozen=True)
class SingleFile:
    """One file, or one zip member that resumes in the middle."""

    item: Item

    @property
    def items(self) -> Sequence[Item]:
        return [self.item]

    def run(self, receiver: Receiver, limits: Limits) -> None:
        origin = self.item.origin
        if isinstance(origin, ZipMember):
            receiver.take(self.item, origin.open_from)
        else:
            receiver.take(self.item, cast(RandomAccessFile, origin).stream)  # `group` puts no TarMember here


@dataclass(frozen=True)
class ZipRange:
    """Adjacent members of one zip archive, in the order of their offsets."""

    items: Sequence[Item]

    def run(self, receiver: Receiver, limits: Limits) -> None:
        members = [_origin(item, ZipMember) for item in self.items]
        file, end = members[0].archive.file, members[-1].end
        with ExitStack() as streams:
            packed = _Packed(streams.enter_context(file.stream(members[0].start, end)), members[0].start)
            for item, member in zip(self.items, members, strict=True):
                if packed.position > member.start:  # a damaged header has led past the next member
                    packed = _Packed(streams.enter_context(file.stream(member.start, end)), member.start)
                skip(packed, member.start - packed.position)
                receiver.take(item, lambda _, member=member, packed=packed: member.open(packed))


@dataclass(frozen=True)
class TarPass:
    """All wanted members of one series of tars."""

    items: Sequence[Item]

    def run(self, receiver: Receiver, limits: Limits) -> None:
        series = _origin(self.items[0], TarMember).series
        left = {_origin(item, TarMember).path: item for item in self.items}
        for path, found in tars.members(series, list(left), limits):
            item = left.pop(path)
            if isinstance(found, Unavailable):
                receiver.refuse(item, found)
            else:
                receiver.take(item, lambda _, found=found: found)
        for item in left.values():
            receiver.refuse(item, Unavailable("missing", f"not in {series.name}"))


Batch = SingleFile | ZipRange | TarPass


def group(items: Iterable[Item], begun: Container[Item]) -> list[Batch]:
    """Put each item into exactly one batch. Origins must differ. A `begun` item gets a batch of its own."""
    zipped: list[Item] = []
    tarred: list[Item] = []
    alone: list[Item] = []
    for item in items:
        match item.origin:
            case ZipMember() as member if not (member.resumable and item in begun):
                zipped.append(item)
            case TarMember():
                tarred.append(item)
            case _:
                alone.append(item)
    tarred.sort(key=_series_identity)
    series = groupby(tarred, key=_series_identity)
    return [
        *(TarPass(list(members)) for _, members in series),
        *(ZipRange(run) for run in _ranges(zipped)),
        *(SingleFile(item) for item in alone),
    ]


def _ranges(items: list[Item]) -> Iterator[list[Item]]:
    """Split zip members into lists that one range request covers."""
    members = [(_origin(item, ZipMember), item) for item in items]
    members.sort(key=lambda pair: (pair[0].archive.identity, pair[0].start))
    run: list[tuple[ZipMember, Item]] = []
    for member, item in members:
        if run and not _extends_range(run[0][0], run[-1][0], member):
            yield [each for _, each in run]
            run = []
        run.append((member, item))
    if run:
        yield [each for _, each in run]


def _extends_range(first: ZipMember, last: ZipMember, member: ZipMember) -> bool:
    """Whether the range from `first` to `last` may continue with `member`."""
    near = member.archive is last.archive and 0 <= member.start - last.end <= MAX_GAP
    return near and last.end - first.start < MAX_RANGE


OriginT = TypeVar("OriginT")


def _origin(item: Item, kind: type[OriginT]) -> OriginT:
    if not isinstance(item.origin, kind):
        raise TypeError(f"{item.target}: {type(item.origin).__name__} in a batch of {kind.__name__}")
    return item.origin


def _series_identity(item: Item) -> str:
    return _origin(item, TarMember).series.identity


class _Packed:
    """A stream that knows its position in the archive. Closing it keeps the archive's stream open."""

    def __init__(self, stream: ByteStream, position: int) -> None:
        self._stream, self.position = stream, position

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, count: int = -1, /) -> bytes:
        piece = self._stream.read(count)
        self.position += len(piece)
        return piece

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        pass
