from pathlib import Path

import pytest

from openo3.media.frame_store import FrameStore
from openo3.report.inputs import Inputs
from tests.support.finished_run import write_run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    write_run(root)
    return root


@pytest.fixture(scope="session")
def inputs(folder: Path) -> Inputs:
    return Inputs.read(folder)


@pytest.fixture(scope="session")
def frames(folder: Path) -> dict[str, FrameStore]:
    """All benchmarks use the same clips."""
    store = FrameStore.open(folder / "data/frames/vstar")
    return {"vstar": store, "videomme": store}
