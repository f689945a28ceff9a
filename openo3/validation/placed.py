"""What an annotation places in a frame: names, times and boxes, whichever field they stand in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from openo3.core.evidence import parse_boxes, parse_claims
from openo3.core.schema import Box, KeyFrame


class Annotated(Protocol):
    """The texts and key items of a record, or as much of them as can be read; boxes normalised."""

    @property
    def answer(self) -> str: ...
    @property
    def reasoning(self) -> str | None: ...
    @property
    def key_frames(self) -> Sequence[KeyFrame]: ...
    @property
    def key_items(self) -> Mapping[int, Mapping[str, Sequence[Box]]] | None: ...


def placed(record: Annotated, field: str) -> Iterator[tuple[str, float | None, Box]]:
    """Name, time in seconds and box of all that `key_items`, `answer` or else the reasoning places in a
    frame; the name is empty, and the time None, where none is given."""
    if field == "key_items":
        times = {frame.idx: frame.time_s for frame in record.key_frames}
        for idx, items in (record.key_items or {}).items():
            for name, boxes in items.items():
                yield from ((name, times.get(idx), box) for box in boxes)
        return
    text = record.answer if field == "answer" else record.reasoning or ""
    claims = parse_claims(text)
    yield from ((claim.name, claim.time_s, box) for claim in claims for box in claim.boxes)
    claimed = {box for claim in claims for box in claim.boxes}
    yield from (("", None, box) for box in parse_boxes(text) if box not in claimed)
