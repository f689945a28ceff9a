"""An orphaned stage, whose `dvc` alone was killed, never runs beside the next one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.flows.small_pipeline import until
from tests.support.checkout import ROOT

STAGE = """
import os, pathlib, time
from stages.params import hold_stage
hold_stage()
with open("runs", "a") as file:
    file.write(f"{os.getpid()}\\n")
while not pathlib.Path("finish").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(f"stages: {{train: {{cmd: {sys.executable} stage.py}}}}")
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def dvc(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        ["dvc", "repro"], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def runs(folder: Path) -> list[int]:
    file = folder / "runs"
    return list(map(int, file.read_text().split())) if file.exists() else []


def test_the_next_run_is_refused_until_the_orphaned_stage_has_ended(checkout: Path) -> None:
    first = dvc(checkout)
    (orphan,) = until(lambda: runs(checkout))
    first.kill()
    first.wait()
    assert psutil.pid_exists(orphan)
    second = dvc(checkout)
    said, _ = second.communicate(timeout=60)
    assert second.returncode != 0
    assert f"train: process {orphan} still runs this stage; wait for it or end it: kill {orphan}" in said
    assert runs(checkout) == [orphan]
    os.kill(orphan, signal.SIGKILL)
    (checkout / "finish").touch()
    third = dvc(checkout)
    said, _ = third.communicate(timeout=60)
    assert third.returncode == 0, said
    assert len(runs(checkout)) == 2
