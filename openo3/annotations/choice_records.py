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

MAX_BATCH_BYTES = 256 << 20
"""Most bytes that the texts of 256 rows of a Parquet file may have, or the pictures of 16."""

MAX_PIECE_BYTES, MAX_PIECE_VALUES = 1 << 30, 10_000_000
"""Most bytes and values that a column may have in one row group of a Parquet file."""

_LETTERED = re.compile(r"[(（]?([A-Z])(?:[)：．）、]|\.(?![A-Z]\.)|:(?=\s))\s*(?=\S)")  # noqa: RUF001 (full-width marks)


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, with those of the columns that are there.

    A text that repeats is stored once in the file, so a small one may hold terabytes: see `_batches`.

    Raises `AnnotationError` for a file that is no Parquet file of texts, or too large when decoded.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            fields = [field for field in file.schema_arrow if field.name in columns]
            if wrong := [field for field in fields if not _is_text(field.type)]:
                raise AnnotationError(f"{path}: column {wrong[0].name} holds {wrong[0].type}, no text")
        for batch in _batches(path, [field.name for field in fields], 256):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: {' '.join(str(error).split())}") from None


def _batches(path: Path, columns: Sequence[str], rows: int) -> Iterator[Any]:
    """Batches of `rows` rows, whose texts and bytes are as they are stored: each different one once.

    Raises `AnnotationError` if a piece of the file or a batch is too large to decode.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        stored = _stored_columns(path, file.metadata, columns)
    with pq.ParquetFile(path, read_dictionary=stored) as file:
        for batch in file.iter_batches(rows, columns=columns):
            if sum(map(_content_bytes, batch.columns)) > MAX_BATCH_BYTES:
                raise AnnotationError(f"{path}: {rows} rows hold more than {MAX_BATCH_BYTES >> 20} MiB")
            yield batch


def _stored_columns(path: Path, metadata: Any, columns: Sequence[str]) -> list[str]:
    """The stored columns of these, such as `options.list.element`.

    Raises `AnnotationError` if a piece of one is too large to decode, by the file's own account.
    """
    stored: dict[str, None] = {}
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            name = column.path_in_schema
            if not any(name == wanted or name.startswith(f"{wanted}.") for wanted in columns):
                continue
            stored[name] = None
            if column.total_uncompressed_size > MAX_PIECE_BYTES or column.num_values > MAX_PIECE_VALUES:
                size = f"{column.num_values:,} values in {column.total_uncompressed_size:,} bytes"
                most = f"at most {MAX_PIECE_VALUES:,} and {MAX_PIECE_BYTES:,} are read"
                raise AnnotationError(f"{path}: column {name}, row group {number}: {size}; {most}")
    return list(stored)


def _content_bytes(column: Any) -> int:
    """How many bytes the contents of a column have, a repeated one counted each time."""
    import pyarrow.compute
    from pyarrow import types

    pc: Any = pyarrow.compute  # its functions are made at run time, unknown to type checkers
    if types.is_list(column.type) or types.is_large_list(column.type):
        return _content_bytes(column.flatten())
    if types.is_struct(column.type):
        return sum(map(_content_bytes, column.flatten()))
    if types.is_dictionary(column.type) and _has_lengths(column.dictionary.type):
        lengths = pc.binary_length(column.dictionary).take(column.indices)
    elif _has_lengths(column.type):
        lengths = pc.binary_length(column)
    else:
        return 8 * len(column)
    return pc.sum(lengths.cast("int64")).as_py() or 0


def _has_lengths(kind: Any) -> bool:
    from pyarrow import types

    tests = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(test(kind) for test in tests)


def parquet_pictures(path: Path, columns: Sequence[str]) -> Iterator[bytes | None]:
    """For each row of a Parquet file its picture, in the first of the columns that is there; else None.

    Such a column holds what `datasets` calls an image: a structure with the `bytes` of a picture's file.

    Raises `AnnotationError` for a file that is no Parquet file, or whose column holds something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            found = next((field for field in file.schema_arrow if field.name in columns), None)
            if found is None:
                yield from (None for _ in range(file.metadata.num_rows))
                return
            kind = found.type
            if not (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
                raise AnnotationError(f"{path}: column {found.name} holds {kind}, no pictures")
        for batch in _batches(path, [f"{found.name}.bytes"], 16):
            for row in batch.column(0).to_pylist():
                content = row and row["bytes"]
                yield content if isinstance(content, bytes) and content else None
    except (pa.ArrowException, OSError) as error:
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
