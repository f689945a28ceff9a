"""The shapes world: a small, exact universe on which the whole pipeline really learns."""

from pathlib import Path
from typing import Any


def generate(folder: Path, **params: Any) -> None:
    """`openo3.shapes.dataset.generate`, which imports torch, so only when it is called."""
    from openo3.shapes import dataset

    dataset.generate(folder, **params)
