"""The lists of files in `data/raw`, and of files that are missing.

A line of `manifest.jsonl`, a file that exists only while the folder is complete:

    {"path": "media/videos/local/videos/a.mp4", "size": 81234, "sha256": "9f2c...", "source": "local"}

Files from the network also have an `origin`, for example
`hf://datasets/OWNER/NAME@COMMIT/stgr.zip#plm/videos/a.mp4`. `sources.yaml` is the user's own addition to the
catalogue, if there is one.

A line of `missing.jsonl`, about a file that an annotation names, with its path relative to `data/raw/media`:

    {"path": "videos/local/videos/b.mp4", "source": "local", "problem": "missing", "detail": "not in clips/"}

It has a `hint` if a file of nearly that name is there (`openo3.fetch.near_misses`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openo3.files.artifacts import read_jsonl

MANIFEST, MISSING, OWN_SOURCES = "manifest.jsonl", "missing.jsonl", "sources.yaml"


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of the manifest by path. The result is empty if the folder is incomplete."""
    path = folder / MANIFEST
    return {line["path"]: line for line in read_jsonl(path)} if path.exists() else {}
