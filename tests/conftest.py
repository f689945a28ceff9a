"""The environment of every test: no network, a separate DVC state, fast tests first.

`make test` runs the tests in two processes (pytest-xdist), which share no fixture. The tests of a file stay
together, so that its fixtures are made once; the mark `xdist_group` holds files together that share a costly
one.
"""

import os
import re
import shutil
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; also of the processes that tests start

import pytest
from hypothesis import settings

import stages  # noqa: F401  (sets the pipeline's own environment: offline, no telemetry)
from tests.support.checkout import Checkout

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


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests last, the large groups of them first; skip GPU tests where there is no GPU."""
    items.sort(key=lambda item: (_is_slow(item), item.get_closest_marker("xdist_group") is None))
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))
    if shutil.which("nvidia-smi") is None:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA GPU here"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Drop the group that pytest-xdist appends to a test's name, so that `pytest --lf` finds it again."""
    if hasattr(report, "node"):  # it comes from another process
        report.nodeid = re.sub(r"@[^]@]*$", "", report.nodeid)


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def _group(item: pytest.Item) -> str:
    """Tests of a group run in one process, in order."""
    if item.get_closest_marker("gpu"):
        return "gpu"  # its memory is for one process at a time
    file = f"{item.path.parent.name}/{item.path.stem}"
    return f"{file}, slow" if _is_slow(item) else file
