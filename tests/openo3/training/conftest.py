"""One workplace for all tests of training; none of them changes it."""

from pathlib import Path

import pytest

from openo3.training.examples import Examples
from tests.openo3.training import workplace


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workplace.write_workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture(scope="session")
def examples(place: Path) -> Examples:
    return workplace.load_examples(place)
