"""One annotation file as a table: canonical lines and blocks of facts, both on disk.

    table = AnnotationTable.read("data/raw/annotations/STGR-SFT.json", FORMATS["sft"], spool, read_rows)
    for block in table.blocks():
        ...                         # see `openo3.validation.block`
    table.write(path, rejected, index)

Rows are written to the folder `spool` as they are read, so they are never all in memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import orjson

from openo3.annotations.rejections import Reason, Rejection, RowError
from openo3.files.artifacts import read_jsonl, write_json, write_jsonl
from openo3.validation.block import ANNOTATED_LENGTH, ANNOTATED_SIZE, ROWS, Block
from openo3.validation.facts import Facts
from openo3.validation.formats import Format
from openo3.validation.media import MediaFacts, MediaIndex
from openo3.validation.suites import READABLE, STATE, Outcome, Rule


class AnnotationTable:
    """`rows` is their number, `files` the files that they need, relative to `data/raw/media`, `unreadable`
    the rows without a canonical record, and `clipped` the notes on accepted records, known once they are
    written."""

    def __init__(self, path: Path, format: Format, spool: Path) -> None:
        self.path, self.format = path, format
        self.rows = 0
        self.files: set[str] = set()
        self.unreadable: dict[int, Rejection] = {}
        self.clipped: list[dict[str, Any]] = []
        self._records_file, self._facts_file = spool / f"{path.name}l", spool / f"{path.name}.facts"

    @classmethod
    def read(
        cls, path: Path, format: Format, spool: Path, read_rows: Callable[[Path], Iterable[Any]]
    ) -> AnnotationTable:
        """Raises `AnnotationError` if the file as a whole cannot be read."""
        table = cls(path, format, spool)
        with table._records_file.open("wb") as records, table._facts_file.open("wb") as facts:
            rows = table._rows(read_rows(path), records)
            while (block := list(islice(rows, ROWS))) or not table.rows:
                pickle.dump(Block.of(table.rows, block), facts)  # exact types; only this process reads it
                table.rows += len(block)
                if not block:
                    break
        return table

    def _rows(self, raws: Iterable[Any], records: BinaryIO) -> Iterator[tuple[Facts, tuple[str, ...]]]:
        """Facts and key images of every row; their records go to `records`."""
        first_rows: dict[tuple[str | None, str], int] = {}
        for number, raw in enumerate(raws):
            facts, images = self._row(number, raw, records)
            if self.format.unique and facts["id"] is not None:
                first = first_rows.setdefault((facts["source"], facts["id"]), number)
                facts["id.duplicate"] = None if first == number else f"the id of row {first}"
            yield facts, images

    def _row(self, number: int, raw: Any, records: BinaryIO) -> tuple[Facts, tuple[str, ...]]:
        labels = dict(zip(("id", "source", "task"), self.format.labels(raw), strict=True))
        try:
            row = self.format.read(raw)
            line = _as_json(row.record)
        except RowError as error:
            reason, field, detail = error.reason, error.field, error.detail
            self.unreadable[number] = Rejection(
                self.path.name, number, **labels, reason=reason, field=field, detail=detail
            )
            return {**labels, "media": None, "kind": None, STATE: str(reason)}, ()
        records.write(line)
        self.files.update((row.media, *row.key_images))
        labels |= {"media": row.media, "kind": row.kind, STATE: READABLE}
        sizes = {ANNOTATED_SIZE: _annotated_size(row.record), ANNOTATED_LENGTH: _annotated_length(row.record)}
        return {**labels, **sizes, **row.facts}, row.key_images

    def blocks(self) -> Iterator[Block]:
        """All rows in order; one empty block if there are none."""
        with self._facts_file.open("rb") as file:
            end = self._facts_file.stat().st_size
            while file.tell() < end:
                yield pickle.load(file)

    def records(self, rows: Collection[int]) -> dict[int, dict[str, Any]]:
        """The canonical records of those of `rows` that have one, before they are fitted to their media."""
        readable = (row for row in range(self.rows) if row not in self.unreadable)
        with self._records_file.open("rb") as lines:
            return {row: orjson.loads(line) for row, line in zip(readable, lines, strict=True) if row in rows}

    def rejections(self, block: Block, outcomes: Iterable[Outcome]) -> dict[int, Rejection]:
        """The rejected rows of a block: those that could not be read, and those that break a rule."""
        rejected = {row: self.unreadable[row] for row in block.frame.index if row in self.unreadable}
        for outcome in outcomes:
            for row, detail in outcome.broken.items():
                if row not in rejected:
                    rejected[row] = self._rejection(block, row, outcome.rule, detail)
        return dict(sorted(rejected.items()))

    def _rejection(self, block: Block, row: int, rule: Rule, detail: str) -> Rejection:
        facts = block.frame.loc[row]
        id_, source, task = (
            facts[name] if isinstance(facts[name], str) else None for name in ("id", "source", "task")
        )
        field = self.format.media_fields[facts["kind"]] if rule.field == "media" else rule.field
        return Rejection(self.path.name, row, id_, source, task, rule.reason, field, detail)

    def write(self, path: Path, rejected: Container[int], index: MediaIndex, time_tolerance_s: float) -> None:
        """Write the records of the rows that are not rejected, with length and size of their media, to which
        they are fitted."""
        self.clipped.clear()
        write_rows(path, self._records(rejected, index, time_tolerance_s))

    def _records(
        self, rejected: Container[int], index: MediaIndex, time_tolerance_s: float
    ) -> Iterator[dict[str, Any]]:
        readable = (row for row in range(self.rows) if row not in self.unreadable)
        for row, record in zip(readable, read_jsonl(self._records_file), strict=True):
            if row not in rejected:
                media = index[record["media"]]
                fitted, notes = self.format.fit(_with_media(record, media), media.size, time_tolerance_s)
                for note in notes:
                    about = {"file": self.path.name, "row": row, "id": self.format.labels(record)[0]}
                    self.clipped.append({**about, "field": note.field, "detail": note.detail})
                yield {**fitted, "clipped": [note.field for note in notes]} if notes else fitted


def _as_json(record: dict[str, Any]) -> bytes:
    """One line of JSON. Raises `RowError` for what no JSON file holds, in fields that nobody reads too."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError as error:  # lone surrogates, integers of more than 64 bits, hundreds of nested lists
        raise RowError(Reason.WRONG_TYPE, "row", str(error)) from None


def _annotated_size(record: Mapping[str, Any]) -> tuple[float, float] | None:
    """`(W, H)` in the pixels of a training record's boxes, if it says so.

    A benchmark's record is never rejected for its size: its boxes are read in the annotated one, see `fit`.
    """
    size = record.get("size") or ()
    return tuple(size) if size and all(map(_is_positive, size)) else None


def _annotated_length(record: Mapping[str, Any]) -> float | None:
    """The length of the video in seconds, if the record says so."""
    frames, fps = record.get("frame_count"), record.get("fps")
    return frames / fps if _is_positive(frames) and _is_positive(fps) else None


def _is_positive(value: Any) -> TypeGuard[float]:
    """Whether the value is a positive number. Optional fields may have any type."""
    return isinstance(value, int | float) and value > 0


def write_rows(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records as one JSON list or as JSON Lines, by the ending of `path`."""
    if path.suffix == ".json":
        write_json(path, list(records))
    else:
        write_jsonl(path, records)


def _with_media(record: dict[str, Any], media: MediaFacts) -> dict[str, Any]:
    """Add the length, and to a sample the size: the annotated one, in whose pixels its boxes were, if any."""
    record["duration_s"] = media.duration_s
    if "key_frames" in record:
        record["size"] = record["size"] or media.size
    return record
