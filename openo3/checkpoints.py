"""The checkpoints that the pipeline makes: their order, the names that are shown, where they are."""

from __future__ import annotations

from pathlib import Path

CHECKPOINTS = {"base": "Base", "sft": "SFT", "gspo": "GSPO"}
"""In the order of training, with the names that are shown."""

TRAINING = tuple(CHECKPOINTS)[1:]
"""The stages that train, each from the checkpoint before it."""

FOLDER = Path("data/models")
"""Where they are in a checkout, each in a folder of its name."""


def trained_by(checkpoint: str) -> tuple[str, ...]:
    """The stages that train a checkpoint; of one that is none of the pipeline's, all."""
    if checkpoint not in CHECKPOINTS:
        return TRAINING
    return TRAINING[: tuple(CHECKPOINTS).index(checkpoint)]
