"""Change `params.yaml` for one run and restore it afterwards."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from openo3.files.artifacts import atomic_file, read_json, set_aside, write_json

PARAMS, KEPT = Path("params.yaml"), Path(".cache/params-during-a-run.json")


@contextmanager
def changed(edit: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Let `edit` change the blocks of `params.yaml` in place. Comments are kept."""
    yaml = YAML()
    yaml.width = 110
    before, during = PARAMS.read_text(encoding="utf-8"), io.StringIO()
    blocks = yaml.load(before)
    edit(blocks)
    yaml.dump(blocks, during)
    write_json(KEPT, {"before": before, "during": during.getvalue()})
    _write(during.getvalue())
    try:
        yield
    finally:
        restore()


def restore() -> None:
    """Undo `changed`, even after a kill. A file that was edited in the meantime is kept."""
    if not KEPT.exists():
        return
    try:
        kept = read_json(KEPT)
        before, during = kept["before"], kept["during"]
    except (ValueError, TypeError, KeyError):
        set_aside(KEPT)
        return
    if PARAMS.read_text(encoding="utf-8") == during:
        _write(before)
    KEPT.unlink()


def _write(text: str) -> None:
    with atomic_file(PARAMS) as part:
        part.write_text(text, encoding="utf-8")
