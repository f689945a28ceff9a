"""Files fetched in one pass: a single file, neighbours in a zip archive, all wanted members of a tar."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO, Protocol

from openo3.fetch import tars
from openo3.fetch.limits import Limits
from openo3.fetch.plan import Item, Unavailable
from openo3.fetch.random_access import skip
from openo3.fetch.tars import TarMember
from openo3.fetch.zips import ZipMember

DAMAGED = tars.DAMAGED
"""Raised while unpacking damaged or hostile archives."""

GAP = 1 << 18
"""Members closer together than this many bytes are read in one range, gaps included."""

SPAN = 64 << 20
"""A range longer than this many bytes ends at its current member; other connections take the next ones."""


class Receiver(Protocol):
    """Receives files: `take` gets an item and a function that opens its content at a position.

    `refuse` gets a reason. `take` handles `Unavailable`, which concerns one file; other errors end the batch.
    """

    def take(self, item: Item, open_at: Callable[[int], BinaryIO]) -> None: ...
    def refuse(self, item: Item, why: Unavailable) -> None: ...


@dataclass(frozen=True)
class Alone:
    """One file, or one member that is resumed mid-file."""

    item: Item

    @property
    def items(self) -> Sequence[Item]:
        return [self.item]

    def run(self, receiver: Receiver, limits: Limits) -> None:
        origin = self.item.origin
        receiver.take(self.item, origin.open_from if isinstance(origin, ZipMember) else origin.stream)


@dataclass(frozen=True)
class Neighbours:
    """Members of one zip archive, in the order of their offsets."""

    items: Sequence[Item]

    def run(self, receiver: Receiver, limits: Limits) -> None:
        members: list[ZipMember] = [item.origin for item in self.items]
        blob, end = members[0].archive.blob, members[-1].end
        with ExitStack() as streams:
            packed = _Packed(streams.enter_context(blob.stream(members[0].start, end)), members[0].start)
            for item, member in zip(self.items, members, strict=True):
                if packed.position > member.start:  # a damaged header led too far
                    packed = _Packed(streams.enter_context(blob.stream(member.start, end)), member.start)
                skip(packed, member.start - packed.position)
                receiver.take(item, lambda _, member=member, packed=packed: member.open(packed))


@dataclass(frozen=True)
class FromTar:
    """All wanted members of a series of tars."""

    items: Sequence[Item]

    def run(self, receiver: Receiver, limits: Limits) -> None:
        series = self.items[0].origin.series
        left = {item.origin.path: item for item in self.items}
        for path, found in tars.members(series, list(left), limits):
            item = left.pop(path)
            if isinstance(found, Unavailable):
                receiver.refuse(item, found)
            else:
                receiver.take(item, lambda _, found=found: found)
        for item in left.values():
            receiver.refuse(item, Unavailable("missing", f"not in {series.name}"))


Batch = Alone | Neighbours | FromTar


def group(items: Iterable[Item], begun: Container[Item]) -> list[Batch]:
    """Each item in exactly one batch; their origins differ. A `begun` item is a batch of its own."""
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
    tarred.sort(key=lambda item: item.origin.series.identity)
    series = groupby(tarred, key=lambda item: item.origin.series.identity)
    return [
        *(FromTar(list(members)) for _, members in series),
        *(Neighbours(run) for run in _runs(zipped)),
        *(Alone(item) for item in alone),
    ]


def _runs(items: list[Item]) -> Iterator[list[Item]]:
    items.sort(key=lambda item: (item.origin.archive.identity, item.origin.start))
    run: list[Item] = []
    for item in items:
        if run and not _joins(run[0].origin, run[-1].origin, item.origin):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def _joins(first: ZipMember, last: ZipMember, member: ZipMember) -> bool:
    near = member.archive is last.archive and 0 <= member.start - last.end <= GAP
    return near and last.end - first.start < SPAN


class _Packed:
    """A stream that knows its position in the archive; closing it does not close the archive's stream."""

    def __init__(self, stream: BinaryIO, position: int) -> None:
        self._stream, self.position = stream, position

    def read(self, count: int) -> bytes:
        piece = self._stream.read(count)
        self.position += len(piece)
        return piece

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        pass
