"""Artifacts as files: written whole or not at all.

Everything is first written under a temporary name beside its target and then renamed, so that a file or a
folder that exists is complete, whatever moment the writer was killed at. What a killed writer left behind is
named `.NAME.part` and is replaced by the next one. Notes and indexes are JSON, which is on the disk before it
gets its name, so that this holds for a power cut too.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write; it becomes `path` at the end of the block, unless the block raises."""
    path = Path(path)
    part = _part(path)
    part.unlink(missing_ok=True)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def link_or_copy(source: str | Path, target: str | Path) -> Literal["linked", "copied"]:
    """A hard link, or a copy where the file system has none. A target that is there stays."""
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:
        shutil.copyfile(source, target)
        return "copied"
    return "linked"


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary folder to fill; it replaces `path` at the end, unless the block raises."""
    path = Path(path)
    part = _part(path)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def set_aside(path: Path) -> None:
    """Rename a damaged file to `NAME.damaged` and say so, so that it can be made anew."""
    path.replace(path.with_name(f"{path.name}.damaged"))
    print(f"{path}: damaged, kept as {path.name}.damaged and made anew")


def read_json(path: str | Path) -> Any:
    return orjson.loads(Path(path).read_bytes())


def write_json(path: str | Path, value: Any) -> None:
    """Indented JSON; NaN and infinity become null, as JSON has neither."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
    with atomic_file(path) as part, part.open("wb") as file:
        file.write(orjson.dumps(value, option=options))
        _to_disk(file)


def read_jsonl(path: str | Path) -> Iterator[Any]:
    """The rows of a JSON Lines file one at a time; blank lines are passed over."""
    with open(path, "rb") as file:
        for line in file:
            if not line.isspace():
                yield orjson.loads(line)


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> None:
    """One row a line, written as the rows come, so that they need not fit into memory."""
    options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
    with atomic_file(path) as part, part.open("wb") as file:
        file.writelines(orjson.dumps(row, option=options) for row in rows)
        _to_disk(file)


def read_csv(path: str | Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """A header of `columns`, then the rows; what a row lacks, or has as None, is left empty."""
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _to_disk(file: BinaryIO) -> None:
    """Without this, a power cut after the rename may leave an empty or zeroed file under the final name."""
    file.flush()
    os.fsync(file.fileno())


def _part(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.part")
