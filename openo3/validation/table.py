"""One annotation file as a table: canonical lines on disk, and a frame of facts about every row.

    table = Table.read("data/raw/annotations/STGR-SFT.json", FORMATS["sft"], spool)
    table.add_media(index)
    table.frame        a line per row: id, source, task, media, question.chars, ..., media.missing, ...
    table.write(path, rejected, index)

Rows never lie in memory together: they go to the file `spool` as they are read, and only their facts stay.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pandas as pd

from openo3.artifacts import read_jsonl, write_json, write_jsonl
from openo3.rejections import Rejection, RowError
from openo3.rows import read_rows
from openo3.validation.formats import Format
from openo3.validation.media import PROBLEMS, MediaFacts, MediaIndex
from openo3.validation.suites import OVERRUN, READABLE, STATE, Outcome, Rule, overrun


class Table:
    """`unreadable`: the rows without a canonical record; `key_images`: the files of each row's key frames."""

    def __init__(self, path: Path, format: Format, spool: Path) -> None:
        self.path, self.format, self.spool = path, format, spool
        self.unreadable: dict[int, Rejection] = {}
        self.key_images: dict[int, tuple[str, ...]] = {}
        self.frame = pd.DataFrame()

    @classmethod
    def read(cls, path: Path, format: Format, spool: Path) -> Table:
        """Raises `AnnotationError` if the file as a whole cannot be read."""
        table = cls(path, format, spool)
        columns = _Columns("id", "source", "task", "media", "kind", STATE)
        first_rows: dict[tuple[str | None, str], int] = {}
        with spool.open("wb") as lines:
            for number, raw in enumerate(read_rows(path)):
                facts = table._read_row(number, raw, lines)
                if format.unique and facts["id"] is not None:
                    first = first_rows.setdefault((facts["source"], facts["id"]), number)
                    facts["id.duplicate"] = None if first == number else f"the id of row {first}"
                columns.append(facts)
        table.frame = columns.frame()
        return table

    def _read_row(self, number: int, raw: Any, lines: BinaryIO) -> dict[str, Any]:
        """The row's labels and facts; its record goes to `lines`."""
        labels = dict(zip(("id", "source", "task"), self.format.labels(raw), strict=True))
        try:
            row = self.format.read(raw)
        except RowError as error:
            reason, field, detail = error.reason, error.field, error.detail
            self.unreadable[number] = Rejection(
                self.path.name, number, **labels, reason=reason, field=field, detail=detail
            )
            return {**labels, "media": None, "kind": None, STATE: str(reason)}
        lines.write(orjson.dumps(row.record, option=orjson.OPT_APPEND_NEWLINE))
        if row.key_images:
            self.key_images[number] = row.key_images
        return {**labels, "media": row.media, "kind": row.kind, STATE: READABLE, **row.facts}

    def files(self) -> Iterator[str]:
        """Every file that the rows need, relative to `data/raw/media`; some more than once."""
        yield from self.frame["media"].dropna()
        for images in self.key_images.values():
            yield from images

    def add_media(self, index: MediaIndex) -> None:
        """Add the facts that only the files tell."""
        paths, kinds = self.frame["media"], self.frame["kind"]
        media = [
            index[path].as_kind(kind) if isinstance(path, str) else None
            for path, kind in zip(paths, kinds, strict=True)
        ]
        self._add_problems("media", media)
        images = [self._worst_image(row, index) for row in range(len(self.frame))]
        if any(images):
            self._add_problems("key_frames.path", images)
        duration = pd.Series([facts.duration_s if facts else None for facts in media], dtype=float)
        for time in OVERRUN:
            if time in self.frame:
                self.frame[overrun(time)] = pd.to_numeric(self.frame[time]) - duration

    def _worst_image(self, row: int, index: MediaIndex) -> MediaFacts | None:
        """A row's first key-frame image with a problem, else its first."""
        images = [index[path].as_kind("image") for path in self.key_images.get(row, ())]
        return next((facts for facts in images if facts.problem), images[0] if images else None)

    def _add_problems(self, field: str, found: Sequence[MediaFacts | None]) -> None:
        for problem in PROBLEMS:
            details = [facts.detail if facts and facts.problem == problem else None for facts in found]
            self.frame[f"{field}.{problem}"] = pd.Series(details, dtype=object)

    def rejections(self, outcomes: Iterable[Outcome]) -> dict[int, Rejection]:
        """Why each rejected row is: it could not be read, or else the first rule that it breaks."""
        rejected = dict(self.unreadable)
        for outcome in outcomes:
            for row, detail in outcome.broken.items():
                if row not in rejected:
                    rejected[row] = self._rejection(row, outcome.rule, detail)
        return dict(sorted(rejected.items()))

    def _rejection(self, row: int, rule: Rule, detail: str) -> Rejection:
        facts = self.frame.loc[row]
        labels = (facts[name] if isinstance(facts[name], str) else None for name in ("id", "source", "task"))
        field = self.format.media_fields[facts["kind"]] if rule.field == "media" else rule.field
        return Rejection(self.path.name, row, *labels, rule.reason, field, detail)

    def write(self, path: Path, rejected: Container[int], index: MediaIndex) -> None:
        """The records of the rows that are not rejected, with length and size of their media."""
        records = self._records(rejected, index)
        if path.suffix == ".json":
            write_json(path, list(records))
        else:
            write_jsonl(path, records)

    def _records(self, rejected: Container[int], index: MediaIndex) -> Iterator[dict[str, Any]]:
        readable = (row for row in range(len(self.frame)) if row not in self.unreadable)
        for row, record in zip(readable, read_jsonl(self.spool), strict=True):
            if row not in rejected:
                yield _with_media(record, index[record["media"]])


def _with_media(record: dict[str, Any], media: MediaFacts) -> dict[str, Any]:
    """A sample gets a size too: the annotated one, in whose pixels its boxes were, else the file's own."""
    record["duration_s"] = media.duration_s
    if "key_frames" in record:
        record["size"] = record["size"] or media.size
    return record


class _Columns:
    """Rows of differing keys, kept column by column: a tenth of the memory of dictionaries."""

    def __init__(self, *names: str) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in names}
        self._rows = 0

    def append(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            column = self._columns.setdefault(name, [])
            column.extend([None] * (self._rows - len(column)))
            column.append(value)
        self._rows += 1

    def frame(self) -> pd.DataFrame:
        for column in self._columns.values():
            column.extend([None] * (self._rows - len(column)))
        return pd.DataFrame(self._columns)
