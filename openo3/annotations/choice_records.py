"""Records of three benchmarks that ask to choose among options, in one form.

    Video-MME    a Parquet file; the group is `duration`: short, medium, long
    WorldSense   a JSON object, video -> its facts and `task0`, `task1`, ...; the group is `task_domain`
    VideoMMMU    a folder of three Parquet files; the group is the track that they are named after

A checked record, whatever file it comes from (`validate` adds `duration_s`):

    {"id": "001-1", "question": "What is she cutting?", "options": ["Apples.", "Pears."], "answer": "B",
     "group": "short", "media": "videos/videomme/fFjv93ACGo8.mp4"}

Without options the question is open, and `answer` is the truth in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from openo3.annotations import rows, sources
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.annotations.sources import Reference

TRACKS = ("Perception", "Comprehension", "Adaptation")
"""Of VideoMMMU."""


def videomme_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """Raises `AnnotationError` for a file that is no Parquet file of texts."""
    return _parquet(Path(path), ("videoID", "question_id", "duration", "question", "options", "answer"))


def videommmu_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a track's file, or of those of a folder in the order of their names; without the pictures.

    A row gets its `track`, which is in the name of the file, and a `name`, since the tracks share their ids.
    Raises `AnnotationError` for a file that is no Parquet file of texts.
    """
    path = Path(path)
    for part in sorted(path.rglob("*.parquet")) if path.is_dir() else [path]:
        place = str(part.relative_to(path)) if path.is_dir() else part.name
        track = next((track for track in TRACKS if track in place), place)
        for row in _parquet(part, ("id", "question_type", "question", "options", "answer")):
            yield {**row, "track": track, "name": f"{track}/{row.get('id')}"}


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Those of the columns that are there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            fields = [field for field in file.schema_arrow if field.name in columns]
            if wrong := [field for field in fields if not _is_text(field.type)]:
                raise AnnotationError(f"{path}: column {wrong[0].name} holds {wrong[0].type}, no text")
            for batch in file.iter_batches(256, columns=[field.name for field in fields]):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: {' '.join(str(error).split())}") from None


def _is_text(kind: Any) -> bool:
    """Text, a whole number as some ids are, nothing at all, or lists of these."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        return _is_text(kind.value_type)
    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_null)
    return any(is_it(kind) for is_it in plain)


def worldsense_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The tasks of all videos, each with its `video` and an `id`.

    Raises `AnnotationError` for a file that holds no JSON object.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
        videos = json.loads(text)  # NaN and lone surrogates too: they cost one row and not the file
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: {error}") from None
    if not isinstance(videos, dict):
        raise AnnotationError(f"{path}: not a JSON object of videos, found {rows.shown(videos)}")
    for video, facts in videos.items():
        tasks = facts.items() if isinstance(facts, dict) else [("task0", facts)]
        for name, task in tasks:
            if name.startswith("task"):
                labels = {"video": video, "id": f"{video}/{name}"}
                yield {**task, **labels} if isinstance(task, dict) else labels


def videomme_references(raw: Any) -> list[Reference]:
    return _video("videomme", raw, "videoID")


def worldsense_references(raw: Any) -> list[Reference]:
    return _video("worldsense", raw, "video")


def videommmu_references(raw: Any) -> list[Reference]:
    return _video("videommmu", raw, "id")


def _video(source: str, raw: Any, field: str) -> list[Reference]:
    name = rows.identifier(rows.record(raw), field)
    return [sources.reference(sources.get(source), "videos", f"{name}.mp4", field)]


def parse_videomme(raw: Any) -> dict[str, Any]:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type."""
    [video] = videomme_references(raw)
    return _record(raw, video, name="question_id", options=_options(raw, "options"), group="duration")


def parse_worldsense(raw: Any) -> dict[str, Any]:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type."""
    [video] = worldsense_references(raw)
    return _record(raw, video, name="id", options=_options(raw, "candidates"), group="task_domain")


def parse_videommmu(raw: Any) -> dict[str, Any]:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type.

    One published question with options has the type "None", which is no `open`.
    """
    [video] = videommmu_references(raw)
    if raw.get("track") not in TRACKS:
        expected = f"expected one of {', '.join(TRACKS)}, found {rows.shown(raw.get('track'))}"
        raise RowError(Reason.WRONG_TYPE, "track", expected)
    options = [] if raw.get("question_type") == "open" else _options(raw, "options")
    return _record(raw, video, name="name", options=options, group="track")


def _options(raw: Mapping[str, Any], field: str) -> list[str]:
    listed = rows.listed(raw.get(field), field)
    if not listed:
        raise RowError(Reason.FIELD_MISSING, field, "there are no options")
    if len(listed) > len(ascii_uppercase) or not all(isinstance(option, str) for option in listed):
        expected = f"expected at most {len(ascii_uppercase)} texts"
        raise RowError(Reason.WRONG_TYPE, field, f"{expected}, found {rows.shown(listed)}")
    return without_letters([rows.check_text(option, field) for option in listed])


def _record(
    raw: Mapping[str, Any], video: Reference, name: str, options: list[str], group: str
) -> dict[str, Any]:
    return {
        "id": rows.identifier(raw, name),
        "question": rows.text(raw, "question"),
        "options": options,
        "answer": rows.text(raw, "answer").strip(),
        "group": rows.text(raw, group),
        "media": video.media,
    }


def without_letters(options: Sequence[str]) -> list[str]:
    """The options without the letters before them, if each has its own.

    >>> without_letters(["A. a cat", "B) a dog"]), without_letters(["A. a cat", "a dog"])
    (['a cat', 'a dog'], ['A. a cat', 'a dog'])
    """
    stripped = [option.strip() for option in options]
    pairs = list(zip(ascii_uppercase, stripped, strict=False))
    if all(option.startswith((f"{letter}. ", f"{letter}) ", f"{letter}: ")) for letter, option in pairs):
        return [option[2:].strip() for option in stripped]
    return stripped
