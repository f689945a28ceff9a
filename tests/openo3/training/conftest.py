"""One workplace for all training tests; no test changes it."""

from pathlib import Path
from zlib import crc32

import pytest

from openo3.core import rewards
from openo3.training.examples import Examples
from tests.openo3.training.workplace import load_examples


@pytest.fixture
def varied_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model gets no reward; here every completion gets a distinct one."""
    monkeypatch.setitem(
        rewards.REWARDS, "format", lambda sample, completion, **_: crc32(completion.text.encode()) / 2**32
    )


@pytest.fixture(scope="session")
def place(workplace: Path) -> Path:
    return workplace


@pytest.fixture(scope="session")
def examples(place: Path) -> Examples:
    return load_examples(place)
