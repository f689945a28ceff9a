"""The environment of every test: no network, a separate DVC state, fast tests first.

`make test` runs the tests in two processes, which share no fixture; `tests.support.scheduling` says how.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; also of the processes that tests start

import pytest
from hypothesis import settings

import stages  # noqa: F401  (sets the pipeline's own environment: offline, no telemetry)
from tests.support.checkout import Checkout
from tests.support.scheduling import TOGETHER, InOrder, place

collect_ignore = ["support/lmms_stub.py"]  # imports lmms-eval, which has an environment of its own

settings.register_profile("shared machine", deadline=None)  # pytest's own time limit is enough
settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Use this Python's stages and DVC, even if its environment is not activated."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["DVC_NO_ANALYTICS"] = "1"
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("dvc"))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # of processes that tests start, some of them side by side


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with a finished run of the smoke profile; copy it before changing anything."""
    checkout = Checkout.create(tmp_path_factory.mktemp("finished"), "smoke")
    assert checkout.repro()["ran"] == checkout.stages()
    return checkout


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs of the training stages and a small model; no test changes it."""
    from tests.openo3.training.workplace import write_workplace  # imports torch

    return write_workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of all stages before the report, at a hundredth of the size; no test changes it."""
    from tests.support.finished_run import write_run

    root = tmp_path_factory.mktemp("evaluated")
    write_run(root)
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests last, those that stay together first; skip GPU tests where there is no GPU."""

    def order(item: pytest.Item) -> tuple[bool, bool]:
        slow = item.get_closest_marker("slow") is not None
        return slow, slow and place(item.nodeid) not in TOGETHER

    items.sort(key=order)
    if shutil.which("nvidia-smi") is None:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA GPU here"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InOrder:
    return InOrder(config, log)
