"""The shapes world: procedural videos with exact annotations, small enough to train on two CPU cores."""

from pathlib import Path

from openo3.shapes.config import ShapesConfig

__all__ = ["ShapesConfig", "generate"]


def generate(folder: Path, config: ShapesConfig) -> None:
    """Call `openo3.shapes.dataset.generate`. The import is deferred because it loads torch."""
    from openo3.shapes import dataset

    dataset.generate(folder, config)
