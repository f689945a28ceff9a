"""VideoMMMU: questions about lectures, with options or open.

The published files are three Parquet files, one for each track; a record's group is its track. Every video
ends with the picture of a quiz, which is what `Adaptation` asks about.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openo3.annotations import choice_records, sources
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import shown
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Record
from openo3.benchmarks.choices import choice_benchmark

TRACKS = ("Perception", "Comprehension", "Adaptation")


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a track's file, or of those of a folder in the order of their names; without the pictures.

    A row gets its `track`, which is in the name of the file, and a `name`, since the tracks share their ids.
    Raises `AnnotationError` for a file that is no Parquet file of texts.
    """
    path = Path(path)
    for part in sorted(path.rglob("*.parquet")) if path.is_dir() else [path]:
        place = str(part.relative_to(path)) if path.is_dir() else part.name
        track = next((track for track in TRACKS if track in place), place)
        columns = ("id", "question_type", "question", "options", "answer")
        for row in choice_records.parquet_rows(part, columns):
            yield {**row, "track": track, "name": f"{track}/{row.get('id')}"}


def references(raw: Any) -> list[Reference]:
    """The record's video."""
    return sources.video("videommmu", raw, "id")


def parse(raw: Any) -> Record:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type.

    One published question with options has the type "None", which is not `open`.
    """
    [video] = references(raw)
    if raw.get("track") not in TRACKS:
        expected = f"expected one of {', '.join(TRACKS)}, found {shown(raw.get('track'))}"
        raise RowError(Reason.WRONG_TYPE, "track", expected)
    options = [] if raw.get("question_type") == "open" else choice_records.options(raw, "options")
    return choice_records.record(raw, video, name="name", options=options, group="track")


VIDEOMMMU = choice_benchmark(
    "videommmu",
    "VideoMMMU",
    "VideoMMMU/",
    rows=rows,
    references=references,
    parse=parse,
    media_field="id",
    id_field="name",
    groups=TRACKS,
    about={
        "Perception": "not_about_last_picture",
        "Comprehension": "not_about_last_picture",
        "Adaptation": "about_last_picture",
    },
)
