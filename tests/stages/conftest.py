"""Workplaces for the training stages."""

from pathlib import Path

import pytest
from transformers import Trainer

from tests.openo3.training import workplace


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs of a training stage; copy it to run one."""
    return workplace.write_workplace(tmp_path_factory.mktemp("inputs"))


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
