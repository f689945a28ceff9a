"""The shapes world: a small, exact universe on which the whole pipeline really learns."""

from pathlib import Path

from openo3.shapes.config import ShapesConfig

__all__ = ["ShapesConfig", "generate"]


def generate(folder: Path, config: ShapesConfig) -> None:
    """`openo3.shapes.dataset.generate`, which imports torch, so only when it is called."""
    from openo3.shapes import dataset

    dataset.generate(folder, config)
