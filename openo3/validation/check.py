"""All annotation files of a folder: read, measured, checked against the rules.

with tempfile.TemporaryDirectory() as spool:
    validation = check(Path("data/raw/annotations"), index, Path(spool), time_tolerance_s=0.5)
    validation.write(Path("data/validated"))
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from openo3.annotations.rejections import Rejection
from openo3.annotations.rows import AnnotationError
from openo3.benchmarks.registry import ANNOTATION_FILES
from openo3.files.artifacts import write_jsonl
from openo3.validation import coverage, suites
from openo3.validation.coverage import Coverage
from openo3.validation.formats import FORMATS
from openo3.validation.media import MediaIndex
from openo3.validation.suites import Outcome
from openo3.validation.table import Table


@dataclass(frozen=True)
class Validation:
    """By file (`sft`, ...): its table, how each rule fared, how much is covered by source and task, and the
    rejected rows by number."""

    tables: dict[str, Table]
    outcomes: dict[str, list[Outcome]]
    covered: dict[str, dict[tuple[str, str], Coverage]]
    rejected: dict[str, dict[int, Rejection]]
    index: MediaIndex
    time_tolerance_s: float

    def rejections(self) -> Iterator[Rejection]:
        """Every rejected row, file by file."""
        return chain.from_iterable(rows.values() for rows in self.rejected.values())

    def metrics(self) -> dict[str, Any]:
        """The numbers of `metrics/validation.json`; `write` first, so that `clipped` records are counted."""
        rows = {name: table.rows for name, table in self.tables.items()}
        metrics = coverage.metrics(rows, self.covered, self.rejected, self.index.counts())
        clipped = {name: len({line["row"] for line in table.clipped}) for name, table in self.tables.items()}
        clipped = {name: count for name, count in clipped.items() if count}
        return metrics | ({"clipped": clipped} if clipped else {})

    def write(self, folder: Path) -> None:
        """The accepted records of each file, `rejected.jsonl`, and `clipped.jsonl` if anything was clipped.

        A line of the latter: `{"file": "NAME.json", "row": 3, "id": ..., "field": "answer", "detail":
        "20-31 s clipped to 20-28 s, the media lasts 28 s"}`.
        """
        for name, table in self.tables.items():
            output = folder / FORMATS[name].output
            table.write(output, self.rejected[name], self.index, self.time_tolerance_s)
        if clipped := [line for table in self.tables.values() for line in table.clipped]:
            write_jsonl(folder / "clipped.jsonl", clipped)
        write_jsonl(folder / "rejected.jsonl", (each.to_json() for each in self.rejections()))


def check(annotations: Path, index: MediaIndex, spool: Path, time_tolerance_s: float) -> Validation:
    """Check every annotation file that is there. `spool` is an empty folder, needed until `write` is done.

    Raises `AnnotationError` if there is none, or one of them cannot be read as a whole.
    """
    tables = {
        file.name: Table.read(path, FORMATS[file.name], spool, file.rows)
        for file in ANNOTATION_FILES
        if (path := annotations / file.filename).exists()
    }
    if not tables:
        raise AnnotationError(f"{annotations}: holds no annotation file")
    index.inspect(chain.from_iterable(table.files for table in tables.values()), os.cpu_count() or 1)
    validation = Validation(tables, {}, {}, {}, index, time_tolerance_s)
    rules = suites.rules(time_tolerance_s)
    for name, table in tables.items():
        found, rejected, covered = [], {}, {}
        for block in table.blocks():
            block.add_media(index)
            found.append(suites.check(block.frame, rules))
            rejections = table.rejections(block, found[-1].values())
            rejected |= rejections
            covered = coverage.joined(covered, coverage.by_source(block.frame, rejections))
        validation.outcomes[name] = suites.joined(found)
        validation.rejected[name] = rejected
        validation.covered[name] = covered
    return validation
