"""Stage `gspo` in a small workplace: what it leaves, and how it goes on after kill -9."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openo3.artifacts import read_json
from openo3.model.load import load_model, load_processor
from openo3.training.gspo import GroundedGSPOTrainer
from stages import gspo
from tests.openo3.training import workplace
from tests.stages.training_stage import (
    ROOT,
    checkpoints,
    copy_workplace,
    curve,
    refuses_an_unknown_setting,
    run_and_kill,
)

BOTH = """
import torch.distributed
import stages.sft, stages.gspo
stages.sft.main()
torch.distributed.barrier()  # the first process writes the artifacts
stages.gspo.main()
print(f"processes: {torch.distributed.get_world_size()}")
"""


@pytest.fixture
def place(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_workplace(inputs, tmp_path)
    (folder / "data/models/sft").symlink_to("base")
    monkeypatch.chdir(folder)
    return folder


def complete(folder: Path) -> None:
    load_model(folder / "data/models/gspo")
    load_processor(folder / "data/models/gspo")
    rows = curve(folder, "gspo")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert list(rows[0]) == ["step", *gspo.COLUMNS]
    assert rows[0]["rewards/format"]
    assert not rows[0]["kl"]
    metrics = read_json(folder / "metrics/gspo.json")
    assert (metrics["steps"], metrics["samples"], metrics["without_frames"]) == (4, 7, 1)


def test_killed_and_started_again(place: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    run_and_kill(place, "gspo", step=3)
    assert checkpoints(place, "gspo") == ["checkpoint-2"]
    seeds, seed = [], GroundedGSPOTrainer._rollout_seed
    monkeypatch.setattr(
        GroundedGSPOTrainer, "_rollout_seed", lambda self: seeds.append(seed(self)) or seeds[-1]
    )
    gspo.main()
    assert steps == [2, 3]
    complete(place)
    resumed = seeds.pop()
    assert not seeds
    steps.clear()
    gspo.main()  # without a kill
    assert steps == [0, 1, 2, 3]
    assert seeds[1] == resumed != seeds[0]
    complete(place)


@pytest.mark.slow
def test_two_processes(inputs: Path, tmp_path: Path) -> None:
    """Both trainers on two CPU processes (gloo), each with its share of the rows. `accelerate launch` starts
    several processes on GPUs in the same way; on CPUs it wants MPI."""
    folder = copy_workplace(inputs, tmp_path)
    (folder / "both.py").write_text(BOTH)
    (folder / "params.yaml").unlink()
    workplace.write_params(folder, gspo={"per_device_train_batch_size": 2})
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "both.py",
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "processes: 2" in done.stdout
    complete(folder)
    assert len(curve(folder, "sft")) == 4
    assert not list(folder.glob(".cache/openo3/*/*"))


def test_a_setting_that_trl_does_not_know_is_one_line(place: Path, capsys: pytest.CaptureFixture) -> None:
    refuses_an_unknown_setting(gspo.main, "gspo", place, capsys)
