"""Wrong arguments of `make ui` are reported in one line before anything starts."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.ports import free_port


def ui(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.ui", *arguments],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("beside", [0, 1], ids=["server", "pages"])
def test_a_taken_port_is_reported_in_one_line(tmp_path: Path, beside: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ui(tmp_path, "--port", str(port - beside))
    assert done.returncode == 2
    assert f"port {port}, for" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["65535", "0", "-1", "http"])
def test_an_invalid_port_is_reported_in_one_line(tmp_path: Path, port: str) -> None:
    done = ui(tmp_path, f"--port={port}")
    assert done.returncode == 2
    assert f"argument --port: '{port}' is not a port between 1 and 65534" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_invalid_schedule_is_reported_in_one_line(tmp_path: Path) -> None:
    done = ui(tmp_path, "--port", str(free_port()), "--cron", "every night")
    assert done.returncode == 2
    assert done.stderr.endswith("argument --cron: 'every night' is not a cron schedule such as '0 3 * * *'\n")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".cache/prefect/server.log").exists()
