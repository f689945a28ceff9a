"""Read all annotation files of a folder and check them against the rules.

with tempfile.TemporaryDirectory() as spool:
    validation = check(Path("data/raw/annotations"), index, Path(spool), time_tolerance_s=0.5)
    validation.write(Path("data/validated"))
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from openo3.annotations.rejections import Rejection
from openo3.annotations.rows import AnnotationError
from openo3.benchmarks.registry import ANNOTATION_FILES
from openo3.files.artifacts import write_jsonl
from openo3.validation import block, coverage, suites
from openo3.validation.coverage import Coverage
from openo3.validation.formats import FORMATS
from openo3.validation.media import MediaIndex
from openo3.validation.suites import Outcome
from openo3.validation.table import AnnotationTable, write_rows

MEASURES = {
    "length of the video in seconds": block.DURATION,
    "width in pixels": block.WIDTH,
    "height in pixels": block.HEIGHT,
    "key frames": "key_frames.count",
    "shortest side of a key frame's boxes, as a share of the frame": "key_items.side",
    "shortest side of a box, as a share of the frame": "bboxes.side",
}
"""Summary figures of the accepted rows on the page: label and fact."""


@dataclass(frozen=True)
class Validation:
    """By file (`sft`, ...): its table, the outcome of each rule, the coverage by source and task, and the
    rejected rows by number. `warnings`: how many accepted rows look wrong, by what is wrong. `measured`:
    least, median and largest value of `MEASURES` in the accepted rows."""

    tables: dict[str, AnnotationTable]
    outcomes: dict[str, list[Outcome]]
    covered: dict[str, dict[tuple[str, str], Coverage]]
    rejected: dict[str, dict[int, Rejection]]
    warnings: dict[str, int]
    measured: dict[str, dict[str, tuple[float, float, float]]]
    index: MediaIndex
    time_tolerance_s: float

    def absent(self) -> list[str]:
        """The absent annotation files whose output later stages still need."""
        benchmarks = {name for name, format in FORMATS.items() if format.output.startswith("bench/")}
        optional = benchmarks if benchmarks & self.tables.keys() else set()
        return [name for name in FORMATS if name not in self.tables and name not in optional]

    def rejections(self) -> Iterator[Rejection]:
        """Every rejected row, file by file."""
        return chain.from_iterable(rows.values() for rows in self.rejected.values())

    def metrics(self) -> dict[str, Any]:
        """The numbers of `metrics/validation.json`; `write` first, so that `clipped` records are counted."""
        rows = {name: table.rows for name, table in self.tables.items()}
        metrics = coverage.metrics(rows, self.covered, self.rejected, self.index.counts())
        clipped = {name: len({line["row"] for line in table.clipped}) for name, table in self.tables.items()}
        clipped = {name: count for name, count in clipped.items() if count}
        metrics |= {"clipped": clipped} if clipped else {}
        return metrics | ({"warnings": self.warnings} if self.warnings else {})

    def write(self, folder: Path) -> None:
        """The accepted records of each file, `rejected.jsonl`, and `clipped.jsonl` if anything was clipped.

        A line of the latter: `{"file": "NAME.json", "row": 3, "id": ..., "field": "answer", "detail":
        "20-31 s clipped to 20-28 s, the media lasts 28 s"}`. Without an annotation file there is an empty
        output: for both kinds of training, and for every benchmark if there is none at all.
        """
        for name, table in self.tables.items():
            output = folder / FORMATS[name].output
            table.write(output, self.rejected[name], self.index, self.time_tolerance_s)
        for name in self.absent():
            write_rows(folder / FORMATS[name].output, [])
        if clipped := [line for table in self.tables.values() for line in table.clipped]:
            write_jsonl(folder / "clipped.jsonl", clipped)
        write_jsonl(folder / "rejected.jsonl", (each.to_json() for each in self.rejections()))


def check(annotations: Path, index: MediaIndex, spool: Path, time_tolerance_s: float) -> Validation:
    """Check every annotation file in the folder. `spool` is an empty folder, needed until `write` is done.

    Raises `AnnotationError` if there is no annotation file, or one of them cannot be read as a whole.
    """
    tables = {
        file.name: AnnotationTable.read(path, FORMATS[file.name], spool, file.rows)
        for file in ANNOTATION_FILES
        if (path := annotations / file.filename).exists()
    }
    if not tables:
        raise AnnotationError(
            f"{annotations}: contains no annotation file, see local/README.md for their names"
        )
    index.inspect(chain.from_iterable(table.files for table in tables.values()), os.cpu_count() or 1)
    validation = Validation(tables, {}, {}, {}, {}, {}, index, time_tolerance_s)
    rules = suites.rules(time_tolerance_s)
    for name, table in tables.items():
        found, rejected, covered, warned = [], {}, {}, Counter()
        values: dict[str, list[np.ndarray]] = {measure: [] for measure in MEASURES}
        for part in table.blocks():
            part.add_media(index)
            found.append(suites.check(part.frame, rules))
            rejections = table.rejections(part, found[-1].values())
            rejected |= rejections
            warned.update(part.warnings(rejections))
            for measure, fact in MEASURES.items():
                values[measure].append(part.accepted(fact, rejections))
            covered = coverage.joined(covered, coverage.by_source(part.frame, rejections))
        validation.outcomes[name] = suites.joined(found)
        validation.rejected[name] = rejected
        validation.covered[name] = covered
        validation.measured[name] = {
            measure: (float(all_.min()), float(np.median(all_)), float(all_.max()))
            for measure, parts in values.items()
            if (all_ := np.concatenate(parts)).size
        }
        validation.warnings.update({f"{name}: {what}": count for what, count in warned.items()})
    return validation
