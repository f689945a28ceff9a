"""Data of a page in files of bounded size, which a browser loads as it needs them, also from disk.

    pages = Pages(folder, "kitchen")
    place = pages.add(record)                   the number of the file that holds the record
    pages.close()
    write_script(folder / "index.js", "index", value)

A browser does not let a page that was opened from disk fetch files, but lets it load scripts: each file is
one call of `openo3Browse.receive` in `browse.js`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from openo3.player.page import assets, script_json

PAGE_BYTES = 256 << 10
"""A file of records is not made longer than this, unless a single record is."""

LIST_RECORDS = 500
"""Rows of the list in one file."""

MAX_TEXT = 20_000
"""Characters that are kept of one text; what is cut is marked."""

MAX_LINE = 160
"""Characters of a text in a list."""


def cut(text: str, most: int = MAX_TEXT) -> str:
    """The text, or its beginning with the mark `…`.

    >>> cut("evidence", 4)
    'evi…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


class Pages:
    """Records go into files of at most `PAGE_BYTES`, in order; the page calls them `NAME/page-N`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._number, self._size, self._held = 0, 0, []

    def add(self, record: Mapping[str, Any]) -> int:
        """The number of the file that the record goes into."""
        text = script_json(record)
        if self._held and self._size + len(text) > PAGE_BYTES:
            self.close()
            self._number += 1
        self._held.append(text)
        self._size += len(text)
        return self._number

    def close(self) -> None:
        """Write what is held."""
        name = f"page-{self._number:04d}"
        _write_call(self._folder / f"{name}.js", f"{self._name}/{name}", f"[{','.join(self._held)}]")
        self._size, self._held = 0, []


def write_lists(data: Path, name: str, rows: Sequence[Any]) -> int:
    """Write the rows of the list as `NAME/list-N.js`; how many files these are."""
    starts = range(0, len(rows), LIST_RECORDS)
    for number, start in enumerate(starts):
        file = f"{name}/list-{number:03d}"
        write_script(data / f"{file}.js", file, rows[start : start + LIST_RECORDS])
    return len(starts)


def write_script(path: Path, name: str, value: Any) -> None:
    """Write one value, which the page loads by this name."""
    _write_call(path, name, script_json(value))


def write_assets(folder: Path, package: str, names: Sequence[str]) -> None:
    """Write a page's own files and those that it shares: the player, and what browses records."""
    own = [(name, (files(package) / name).read_text(encoding="utf-8")) for name in names]
    shared = [(name, (files("openo3.gallery") / name).read_text(encoding="utf-8")) for name in SHARED]
    for name, text in [*own, *shared, *zip(("player.js", "player.css"), assets(), strict=True)]:
        (folder / name).write_text(text, encoding="utf-8")


SHARED = ("browse.js", "browse.css")


def _write_call(path: Path, name: str, json: str) -> None:
    path.write_text(f"openo3Browse.receive({script_json(name)}, {json});\n", encoding="utf-8")
