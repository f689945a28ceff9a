"""Runs a training stage in its own workplace, kills it, and counts its updates."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.openo3.training import workplace

ROOT = Path(__file__).resolve().parents[2]

_KILL = """
import os, signal
from transformers import Trainer
import stages.{stage} as stage

original = Trainer.training_step

def training_step(self, *args, **kwargs):
    if self.state.global_step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *args, **kwargs)

Trainer.training_step = training_step
stage.main()
"""


def copy_workplace(place: Path, folder: Path) -> Path:
    """The same inputs and parameters in a folder where a stage may write."""
    folder.mkdir(exist_ok=True)
    (folder / "data/models").mkdir(parents=True)
    for name in ("data/validated", "data/frames", "data/models/base", "params.yaml"):
        (folder / name).symlink_to(place / name)
    return folder


def change_params(folder: Path, **parameters: Any) -> None:
    """Replace the parameters of a copied workplace, see `write_params`."""
    (folder / "params.yaml").unlink()  # a link to those of all tests
    workplace.write_params(folder, **parameters)


def run_and_kill(folder: Path, stage: str, step: int) -> None:
    """Run a stage in its own process and kill it with -9 during the update after `step`."""
    threads = str(torch.get_num_threads())  # as here: another number adds up in another order
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads}
    code = _KILL.format(stage=stage, step=step)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def in_two_processes(folder: Path, code: str, seconds: float = 400) -> subprocess.CompletedProcess[str]:
    """Run code in `folder` as two processes on CPUs (gloo), for `seconds` at most. `accelerate launch` starts
    several processes on GPUs in the same way; on CPUs it wants MPI."""
    (folder / "both.py").write_text(code)
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    started = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "both.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        started.terminate()  # the launcher ends both
        started.wait()
        raise
    return subprocess.CompletedProcess(started.args, started.returncode, out, err)


def refuses_an_unknown_setting(
    main: Callable[[], None], stage: str, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    """The stage fails with one line when TRL does not know a setting of its trainer."""
    change_params(folder, **{stage: {"learning_rat": 1e-3}})
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"params.yaml: {stage}.trainer: ")
    assert "learning_rat" in last


class Reached(Exception):
    """Raised when the stage has built its trainer."""


def given_to_the_trainer(stage: Any, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> tuple[Any, ...]:
    """What a stage with these parameters (see `write_params`) passes to its trainer; no step is taken."""
    name = stage.__name__.rpartition(".")[2]
    given: list[tuple[Any, ...]] = []

    def trainer(*arguments: Any, **_: Any) -> None:
        given.append(arguments)
        raise Reached

    change_params(Path(), **parameters)
    monkeypatch.setattr(stage, f"{name}_trainer", trainer)
    with pytest.raises(Reached):
        stage.main()
    return given[0]


def curve(folder: Path, stage: str) -> list[dict[str, str]]:
    with (folder / f"plots/{stage}.csv").open() as file:
        return list(csv.DictReader(file))


def checkpoints(folder: Path, stage: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f".cache/openo3/{stage}/*/checkpoint-*"))
