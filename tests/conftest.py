"""What every test runs under: no network, two cores for everybody, the fast tests first."""

import shutil

import pytest

import stages  # noqa: F401  (sets the same environment as the pipeline's: offline, no telemetry)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then those marked slow, else in the order of the files; no GPU, no GPU tests."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    if shutil.which("nvidia-smi") is None:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA GPU here"))
