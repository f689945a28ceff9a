from pathlib import Path

import pytest

from openo3.media.frame_store import FrameStore
from openo3.report.inputs import Inputs


@pytest.fixture(scope="session")
def folder(evaluated: Path) -> Path:
    return evaluated


@pytest.fixture(scope="session")
def inputs(folder: Path) -> Inputs:
    return Inputs.read(folder)


@pytest.fixture(scope="session")
def frames(folder: Path) -> dict[str, FrameStore]:
    """All benchmarks use the same clips."""
    store = FrameStore.open(folder / "data/frames/vstar")
    return {"vstar": store, "videomme": store}
