"""VideoMMMU: questions about lectures, with options or open.

The published files are three Parquet files, one for each track; a record's group is its track. A question of
`Adaptation` refers to a picture. The column `image 1` holds it, where the published file has that column: the
picture is then shown after the video. Every published video ends with the same picture, for readers of videos
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openo3.annotations import choice_records, sources
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import shown, text
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Record
from openo3.benchmarks.choices import choice_benchmark

_PICTURES = ("image 1", "image_1", "image")
TRACKS = ("Perception", "Comprehension", "Adaptation")


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a track's file, or of those of a folder in the order of their names; without the pictures.

    A row gets its `track`, which is in the name of the file, and a `name`, since the tracks share their ids;
    one with a picture also the picture's name, as `picture`. Raises `AnnotationError` for a file that is no
    Parquet file of texts and pictures.
    """
    for row, content in _rows_with_pictures(Path(path)):
        yield {**row, "picture": _picture_of(row)} if content else row


def pictures(path: str | Path) -> Iterator[tuple[str, bytes]]:
    """The name and the file's bytes of each picture. Raises `AnnotationError` as `rows` does."""
    for row, content in _rows_with_pictures(Path(path)):
        if content:
            yield _picture_of(row), content


def _picture_of(row: dict[str, Any]) -> str:
    return f"pictures/videommmu/{row['name']}"


def _rows_with_pictures(path: Path) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    columns = ("id", "question_type", "question", "options", "answer")
    for part in sorted(path.rglob("*.parquet")) if path.is_dir() else [path]:
        place = str(part.relative_to(path)) if path.is_dir() else part.name
        track = next((track for track in TRACKS if track in place), place)
        rows = choice_records.parquet_rows(part, columns)
        for row, content in zip(rows, choice_records.parquet_pictures(part, _PICTURES), strict=True):
            yield {**row, "track": track, "name": f"{track}/{row.get('id')}"}, content


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
    record = choice_records.record(raw, video, name="name", options=options, group="track")
    return record if raw.get("picture") is None else {**record, "picture": text(raw, "picture")}


VIDEOMMMU = choice_benchmark(
    "videommmu",
    "VideoMMMU",
    "VideoMMMU/",
    rows=rows,
    references=references,
    parse=parse,
    pictures=pictures,
    media_field="id",
    id_field="name",
    groups=TRACKS,
    about={
        "Perception": "not_about_last_picture",
        "Comprehension": "not_about_last_picture",
        "Adaptation": "about_last_picture",
    },
)
