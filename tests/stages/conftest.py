"""Workplaces for the training stages."""

from pathlib import Path

import pytest
from transformers import Trainer


@pytest.fixture(scope="session")
def inputs(workplace: Path) -> Path:
    """The inputs of a training stage; copy it to run one."""
    return workplace


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of updates done before each training step that is taken in this process."""
    taken: list[int] = []
    original = Trainer.training_step

    def training_step(self: Trainer, *args: object, **kwargs: object) -> object:
        taken.append(self.state.global_step)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", training_step)
    return taken
