"""Records that ask to choose among options: what the readers of several benchmarks share.

A checked record, whatever file it comes from (`validate` adds `duration_s`):

    {"id": "001-1", "question": "What is she cutting?", "options": ["Apples.", "Pears."], "answer": "B",
     "group": "short", "media": "videos/NAME/fFjv93ACGo8.mp4"}

Without options the question is open, and `answer` is the truth in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from openo3.annotations import rows
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.annotations.sources import Reference

_LETTERED = re.compile(r"[(（]?([A-Z])(?:[)：．）、]|\.(?![A-Z]\.)|:(?=\s))\s*(?=\S)")  # noqa: RUF001 (full-width marks)


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, with those of the columns that are there.

    Raises `AnnotationError` for a file that is no Parquet file of texts.
    """
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


def options(raw: Mapping[str, Any], field: str) -> list[str]:
    """The options without their letters. Raises `RowError` if there are none, or if they are not texts."""
    listed = rows.listed(raw.get(field), field)
    if not listed:
        raise RowError(Reason.FIELD_MISSING, field, "there are no options")
    if len(listed) > len(ascii_uppercase) or not all(isinstance(option, str) for option in listed):
        expected = f"expected at most {len(ascii_uppercase)} texts"
        raise RowError(Reason.WRONG_TYPE, field, f"{expected}, found {rows.shown(listed)}")
    return without_letters([rows.check_text(option, field) for option in listed])


def record(
    raw: Mapping[str, Any], video: Reference, *, name: str, options: list[str], group: str
) -> dict[str, Any]:
    """The record in the common form; `name` and `group` are fields of it. Raises `RowError`."""
    return {
        "id": rows.identifier(raw, name),
        "question": rows.text(raw, "question"),
        "options": options,
        "answer": rows.text(raw, "answer").strip(),
        "group": rows.text(raw, group),
        "media": video.media,
    }


def checked(raw: Any) -> dict[str, Any]:
    """A record that is in the common form already. Raises `RowError` if a field is of a wrong type."""
    raw = rows.record(raw)
    for field in ("question", "answer", "group"):
        rows.text(raw, field)
    listed = rows.listed(raw.get("options"), "options")
    return {**raw, "id": rows.identifier(raw), "options": options(raw, "options") if listed else []}


def without_letters(options: Sequence[str]) -> list[str]:
    """The options without the letters before them, if each has its own.

    >>> without_letters(["A. a cat", "B) a dog"]), without_letters(["A. a cat", "a dog"])
    (['a cat', 'a dog'], ['A. a cat', 'a dog'])
    """
    stripped = [option.strip() for option in options]
    pairs = zip(ascii_uppercase, stripped, strict=False)
    found = [match for letter, option in pairs if (match := _LETTERED.match(option)) and match[1] == letter]
    return (
        [match.string[match.end() :].strip() for match in found] if len(found) == len(stripped) else stripped
    )
