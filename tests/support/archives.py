"""Archives with known members: tars, and whole and split zip archives made by the `zip` tool."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

needs_zip = pytest.mark.skipif(shutil.which("zip") is None, reason="the zip tool is not installed")


def noise(size: int, seed: int = 0) -> bytes:
    """Incompressible bytes, like those of a video."""
    return random.Random(seed).randbytes(size)


def zip_archive(folder: Path, name: str, members: Mapping[str, bytes], *options: str) -> list[Path]:
    """Make an archive with `zip` (`-s 64k`: split, `-0`: stored, ...); return its parts in order."""
    inside = folder / f"{name}-members"
    for path, content in members.items():
        (inside / path).parent.mkdir(parents=True, exist_ok=True)
        (inside / path).write_bytes(content)
    command = ["zip", "--quiet", *options, str(folder.absolute() / f"{name}.zip"), "-@"]
    subprocess.run(
        command, cwd=inside, input="\n".join(members), text=True, check=True, stdout=subprocess.DEVNULL
    )
    shutil.rmtree(inside)
    return [*sorted(folder.glob(f"{name}.z[0-9]*")), folder / f"{name}.zip"]


def tar_archive(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for path, content in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
