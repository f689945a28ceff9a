"""Untrusted rows of a JSON list: read one at a time, every field with its type checked.

    [{"id": "q1", "question": "Where is the cup?", ...},
     {"id": "q2", "question": null, ...}]

`read_rows` streams such a file in bounded memory. A format module then takes the fields it needs through
`text`, `number`, ..., which raise `RowError` for what is wrong with this one row. Only a file that is no
list of rows at all, or that ends in the middle, is an error of the whole: `AnnotationError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TextIO, overload

from openo3.annotations.rejections import Reason, RowError, printable

MAX_CHARS = 50_000
"""Longest text of a field; the longest reasoning of the published files has a few thousand characters."""

CUT_OFF = "the file is cut off"
_CHUNK = 1 << 20  # characters read at a time
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_DECODER = json.JSONDecoder()  # reads NaN and Infinity too, so that they cost one row and not the file


class AnnotationError(ValueError):
    """A whole annotation file cannot be read; the message names the file and the place."""


def read_rows(path: str | Path) -> Iterator[Any]:
    """The elements of the JSON list in `path`, in order; holds one element and a piece of text at a time.

    Bytes that are no UTF-8 become lone surrogates, which `text` rejects.

    Raises `AnnotationError` with file, row and byte if the file holds no list, is malformed or cut off.
    """
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        window = _Window(path, file)
        if window.peek() == "\ufeff":  # the mark that some editors put first
            window.start += 1
        if window.peek() != "[":
            window.stop(f"not a JSON list of rows, it starts with {shown(window.text[:20])}")
        window.start += 1
        more = window.peek() != "]"
        while more:
            yield window.take()
            separator = window.peek()
            if separator not in (",", "]"):
                window.stop("expected a comma or the end of the list" if separator else CUT_OFF)
            more = separator == ","
            window.start += more
        window.start += 1
        if window.peek():
            window.stop("text after the end of the list")


def read_videos(path: str | Path) -> dict[str, Any]:
    """The JSON object in `path`, whose keys are videos.

    Bytes that are no UTF-8 become lone surrogates, which `text` rejects; NaN is read too: both cost one row
    and not the file.

    Raises `AnnotationError` for a file that holds no JSON object.
    """
    try:
        videos = json.loads(Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape"))
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: {error}") from None
    if not isinstance(videos, dict):
        raise AnnotationError(f"{path}: not a JSON object of videos, found {shown(videos)}")
    return videos


def read_objects_of_videos(path: str | Path) -> dict[str, dict[str, Any]]:
    """The same where each video's value is an object; raises `AnnotationError` if one is not."""
    videos = read_videos(path)
    if not all(isinstance(facts, dict) for facts in videos.values()):
        raise AnnotationError(f"{path}: not a JSON object of videos, found {shown(videos)}")
    return videos


class _Window:
    """The part of the file that is in memory, and where in the file it begins."""

    def __init__(self, path: str | Path, file: TextIO) -> None:
        self.path, self.file = path, file
        self.text, self.start = "", 0  # `start`: the next unread character of `text`
        self.row, self.passed_bytes = 0, 0

    def more(self) -> bool:
        """Drop what was read and read on, at least as much as is left: a long row costs linear time."""
        chunk = self.file.read(max(_CHUNK, len(self.text) - self.start))
        self.passed_bytes += _bytes(self.text[: self.start])
        self.text, self.start = self.text[self.start :] + chunk, 0
        return bool(chunk)

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            found = _NOT_SPACE.search(self.text, self.start)
            self.start = found.start() if found else len(self.text)
            if self.start < len(self.text):
                return self.text[self.start]
            if not self.more():
                return ""

    def take(self) -> Any:
        """The next element of the list."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.start)
            except json.JSONDecodeError as error:
                # only an element at the window's end can go on beyond it (the longest literal is -Infinity)
                goes_on = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - 16
                if goes_on and self.more():
                    continue
                self.stop(CUT_OFF, len(self.text)) if goes_on else self.stop(error.msg, error.pos)
            except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a thousand nested lists
                self.stop(str(error))
            length = end - self.start
            if len(self.text) - end <= 2 and self.more():
                continue  # a number may go on: `1` of `1e-5` ends two characters before `1e-`
            self.start += length
            self.row += 1
            return value

    def stop(self, problem: str, position: int | None = None) -> NoReturn:
        byte = self.passed_bytes + _bytes(self.text[: self.start if position is None else position])
        raise AnnotationError(f"{self.path}: row {self.row}, byte {byte}: {problem}")


def record(value: Any) -> Mapping[str, Any]:
    """The row itself, which must be an object."""
    if not isinstance(value, dict):
        raise RowError(Reason.NOT_OBJECT, "row", f"found {shown(value)}")
    return value


def text(row: Mapping[str, Any], field: str) -> str:
    """The field's text, which must be there: valid Unicode without NUL, at most `MAX_CHARS` long."""
    value = _present(row, field)
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, field, f"expected text, found {shown(value)}")
    return check_text(value, field)


def check_text(value: str, field: str) -> str:
    if len(value) > MAX_CHARS:
        raise RowError(Reason.TOO_LONG, field, f"{len(value)} characters, at most {MAX_CHARS}")
    if "\0" in value or printable(value) != value:
        raise RowError(Reason.NOT_TEXT, field, shown(value))
    return value


def identifier(row: Mapping[str, Any], field: str = "id") -> str:
    """A name: text, or a whole number as some sources have it."""
    value = _present(row, field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(row, field)


def listed(value: Any, field: str) -> list[Any]:
    """The value as a list; null means an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowError(Reason.WRONG_TYPE, field, f"expected a list, found {shown(value)}")
    return value


def mapping(value: Any, field: str) -> Mapping[str, Any]:
    """The value as an object; null means an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowError(Reason.WRONG_TYPE, field, f"expected an object, found {shown(value)}")
    return value


def number(value: Any, field: str) -> float:
    """A finite number; text that looks like one is none."""
    if value is None:
        raise RowError(Reason.FIELD_MISSING, field, "absent or null")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(Reason.WRONG_TYPE, field, f"expected a number, found {shown(value)}")
    if not -1e15 < value < 1e15:  # false for NaN too
        raise RowError(Reason.NOT_FINITE, field, shown(value))
    return float(value)


def integer(value: Any, field: str) -> int:
    """A whole number, `3` or `3.0`."""
    as_float = number(value, field)
    if not as_float.is_integer():
        raise RowError(Reason.WRONG_TYPE, field, f"expected a whole number, found {shown(value)}")
    return int(as_float)


@overload
def numbers(value: Any, field: str, count: Literal[2]) -> tuple[float, float]: ...
@overload
def numbers(value: Any, field: str, count: Literal[4]) -> tuple[float, float, float, float]: ...
def numbers(value: Any, field: str, count: int) -> tuple[float, ...]:
    """A list of exactly `count` finite numbers."""
    if not isinstance(value, list) or len(value) != count or None in value:
        raise RowError(Reason.WRONG_TYPE, field, f"expected {count} numbers, found {shown(value)}")
    return tuple(number(item, field) for item in value)


def size(value: Any, field: str) -> tuple[int, int]:
    """`(width, height)` of a picture in whole pixels."""
    if value is None:
        raise RowError(Reason.FIELD_MISSING, field, "absent or null")
    width, height = numbers(value, field, 2)
    if min(width, height) < 1:
        raise RowError(Reason.WRONG_TYPE, field, f"expected pixels, found {width:g} x {height:g}")
    return integer(width, field), integer(height, field)


def shown(value: Any) -> str:
    """A value as a report shows it: short, on one line."""
    written = json.dumps(value[:80], ensure_ascii=False) if isinstance(value, str) else repr(value)
    return printable(written if len(written) <= 80 else written[:77] + "...")


def _present(row: Mapping[str, Any], field: str) -> Any:
    value = row.get(field)
    if value is None:
        raise RowError(Reason.FIELD_MISSING, field, "absent or null")
    return value


def _bytes(value: str) -> int:
    return len(value.encode(errors="surrogateescape"))
