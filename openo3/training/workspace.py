"""Where a stage keeps its unfinished work, so that a killed run resumes and a changed one starts anew."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from openo3.files.artifacts import read_json, write_json
from openo3.files.import_closure import ROOT, closure

CACHE = Path(".cache/openo3")
NOTES = "digests.jsonl"
MANIFEST = "made_of.json"
LIBRARIES = (
    "accelerate", "deepspeed", "peft", "pillow", "tokenizers", "torch", "torchvision", "transformers", "trl",
    "vllm",
)  # fmt: skip
# The digests of larger files are cached, since reading 16 GB of weights takes longer than loading them
_NOTED = 64 * 2**20


def workspace(
    stage: str, inputs: Iterable[Path], settings: Any, *, code: str | None = None, root: Path = CACHE
) -> Path:
    """The folder for the unfinished work of `stage` on exactly these inputs, settings and this code.

    It is named after the content of all `inputs` (files, or folders with all their files), `settings`, the
    code of the stage `code` (by default `stage`), and the versions of the libraries that compute. The folder
    of any other run of the stage is removed, and one line says what has changed since: its work must not be
    mixed with this run's. All processes of a distributed run may call this at once.
    """
    parts = made_of(inputs, settings, code or stage, root)
    name = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    folder = root / stage / name
    if os.environ.get("RANK", "0") == "0":
        for other in (root / stage).glob("*"):
            if other != folder:
                print(f"{stage}: starts anew: {_changes(other / MANIFEST, parts)}", flush=True)
                shutil.rmtree(other, ignore_errors=True)
        if not (folder / MANIFEST).exists():
            write_json(folder / MANIFEST, parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made_of(inputs: Iterable[Path], settings: Any, code: str, root: Path = CACHE) -> dict[str, str]:
    """Digests of everything that a run's result depends on, by name."""
    digest = _Digests(root / NOTES)
    files = {
        file for path in inputs for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()
    }
    parts = {str(file): digest(file) for file in sorted(files)}
    parts |= {name: _sha256((ROOT / name).read_bytes()) for name in sorted(closure(code))}
    parts["the parameters"] = _sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    return parts | {library: version for library in LIBRARIES if (version := _version(library))}


class _Digests:
    """SHA-256 of files; those of large ones are noted, one line of JSON each, and read again only if the
    file is another one or has been written to since."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.known: dict[str, str] = {}
        for line in notes.read_bytes().splitlines() if notes.exists() else ():
            try:
                self.known |= json.loads(line)
            except (TypeError, ValueError):  # incomplete or damaged: the file is read again
                continue

    def __call__(self, file: Path) -> str:
        status = file.stat()
        if status.st_size < _NOTED:
            return _sha256(file.read_bytes())
        # The change time cannot be set by programs, unlike the modification time
        key = ":".join(
            map(
                str,
                (
                    file.resolve(),
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                    status.st_ino,
                    status.st_dev,
                ),
            )
        )
        if key not in self.known:
            with file.open("rb") as opened:
                self.known[key] = hashlib.file_digest(opened, "sha256").hexdigest()
            self.notes.parent.mkdir(parents=True, exist_ok=True)
            with self.notes.open("ab") as notes:  # appended at once: other processes do the same
                notes.write(json.dumps({key: self.known[key]}).encode() + b"\n")
        return self.known[key]


def _changes(manifest: Path, parts: Mapping[str, str]) -> str:
    """A description of the differences from an earlier run's manifest."""
    try:
        before = dict(read_json(manifest))
    except (OSError, TypeError, ValueError):
        return "it is unknown what the unfinished run was made of"
    changed = sorted(name for name in before.keys() | parts.keys() if before.get(name) != parts.get(name))
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"{', '.join(changed[:3])}{more} changed since the unfinished run"


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
