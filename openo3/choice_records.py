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

import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from openo3 import rows, sources
from openo3.rejections import Reason, RowError
from openo3.rows import AnnotationError
from openo3.sources import Reference

LETTERS = string.ascii_uppercase


def parquet_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, or of those of a folder in the order of their names, without pictures.

    `track` is the file's name up to its first hyphen. Raises `AnnotationError` for a file that is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    for part in sorted(path.glob("*.parquet")) if path.is_dir() else [path]:
        try:
            with pq.ParquetFile(part) as file:
                plain = [field.name for field in file.schema_arrow if not _holds_bytes(field.type)]
                for batch in file.iter_batches(256, columns=plain):
                    for row in batch.to_pylist():
                        yield {"track": part.stem.partition("-")[0], **row}
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise AnnotationError(f"{part}: {' '.join(str(error).split())}") from None


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    return types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def worldsense_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The tasks of all videos, each with its `video` and an `id`.

    Raises `AnnotationError` for a file that holds no JSON object.
    """
    try:
        videos = orjson.loads(Path(path).read_bytes())
    except orjson.JSONDecodeError as error:
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
    return _record(raw, video, name="question_id", options="options", group="duration")


def parse_worldsense(raw: Any) -> dict[str, Any]:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type."""
    [video] = worldsense_references(raw)
    return _record(raw, video, name="id", options="candidates", group="task_domain")


def parse_videommmu(raw: Any) -> dict[str, Any]:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type.

    One published question with options has the type "None", which is no `open`.
    """
    [video] = videommmu_references(raw)
    if raw.get("question_type") == "open":
        raw = {**raw, "options": None}
    return _record(raw, video, name="id", options="options", group="track")


def _record(raw: Mapping[str, Any], video: Reference, name: str, options: str, group: str) -> dict[str, Any]:
    listed = rows.listed(raw.get(options), options)
    if len(listed) > len(LETTERS) or not all(isinstance(option, str) for option in listed):
        expected = f"expected at most {len(LETTERS)} texts"
        raise RowError(Reason.WRONG_TYPE, options, f"{expected}, found {rows.shown(listed)}")
    return {
        "id": rows.identifier(raw, name),
        "question": rows.text(raw, "question"),
        "options": without_letters([rows.check_text(option, options) for option in listed]),
        "answer": rows.text(raw, "answer").strip(),
        "group": rows.text(raw, group),
        "media": video.media,
    }


def without_letters(options: Sequence[str]) -> list[str]:
    """The options without the letters before them, if each has its own.

    >>> without_letters(["A. a cat", "B) a dog"]), without_letters(["A. a cat", "a dog"])
    (['a cat', 'a dog'], ['A. a cat', 'a dog'])
    """
    pairs = list(zip(LETTERS, (option.strip() for option in options), strict=False))
    if all(option[:1] == letter and option[1:2] in (".", ")", ":") for letter, option in pairs):
        return [option[2:].strip() for _, option in pairs]
    return [option for _, option in pairs]
