"""What an annotation file below `data/raw/annotations` is, and the two training files.

`openo3.benchmarks.registry` adds those of the benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openo3.annotations import stgr
from openo3.annotations.rows import read_rows
from openo3.annotations.sources import Reference


@dataclass(frozen=True)
class AnnotationFile:
    """`references` lists the files that a record names; it raises `RowError` if the record does not tell.

    `rows` reads the records one by one; it raises `AnnotationError` if the file as a whole cannot be read.
    A `filename` that ends with a slash is a folder of files, each of which `rows` can read too.
    """

    name: str
    filename: str
    references: Callable[[Any], list[Reference]]
    rows: Callable[[str | Path], Iterator[Any]] = read_rows


def targets(filename: str, parts: Sequence[str]) -> list[str]:
    """Where each part goes below `data/raw`: a file by its name, into a folder of parts each by its path.

    Parts have different paths, and get different names: `a/b.parquet` and `a-b.parquet` as well.
    """
    if not filename.endswith("/"):
        return [f"annotations/{filename}" for _ in parts]
    found: dict[str, str] = {}
    for part in sorted(parts, key=lambda part: (part.count("/"), part)):
        name, number = part.replace("/", "-"), 2
        stem, dot, suffix = name.rpartition(".")
        while name in found.values():
            name, number = f"{stem} ({number}){dot}{suffix}", number + 1
        found[part] = name
    return [f"annotations/{filename}{found[part]}" for part in parts]


STGR_FILES = (
    AnnotationFile("sft", "STGR-SFT.json", stgr.references),
    AnnotationFile("rl", "STGR-RL.json", stgr.references),
)
