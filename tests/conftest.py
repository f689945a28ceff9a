"""What every test runs under: no network, a DVC state of its own, the fast tests first."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

import stages  # noqa: F401  (sets the pipeline's own environment: offline, no telemetry)
from tests.support.checkout import Checkout

settings.register_profile("shared machine", deadline=None)  # pytest's own time limit is enough
settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Stages and DVC are those of this Python, whether its environment is activated or not."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["DVC_NO_ANALYTICS"] = "1"
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("dvc"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which the smoke profile has run to its end once; take a copy to change anything."""
    checkout = Checkout.create(tmp_path_factory.mktemp("finished"), "smoke")
    assert checkout.repro()["ran"] == checkout.stages()
    return checkout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then those marked slow, else in the order of the files; no GPU, no GPU tests."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    if shutil.which("nvidia-smi") is None:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA GPU here"))
