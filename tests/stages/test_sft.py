"""Stage `sft` in a small workplace: its artifacts, and how it resumes after kill -9."""

import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer

from openo3.core.schema import Task
from openo3.files.artifacts import read_json, read_jsonl, write_jsonl
from openo3.model.load import load_model, load_processor
from openo3.training import record
from stages import sft
from tests.stages.training_stage import (
    change_params,
    checkpoints,
    copy_workplace,
    curve,
    given_to_the_trainer,
    in_two_processes,
    refuses_an_unknown_setting,
    run_and_kill,
)

pytestmark = pytest.mark.usefixtures("_here")


@pytest.fixture
def _here(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy_workplace(inputs, tmp_path))


def complete(folder: Path) -> None:
    """The artifacts of a whole run."""
    load_model(folder / "data/models/sft")
    load_processor(folder / "data/models/sft")
    assert [row["step"] for row in curve(folder, "sft")] == ["1", "2", "3", "4"]
    assert all(float(row["loss"]) > 0 for row in curve(folder, "sft"))
    metrics = read_json(folder / "metrics/sft.json")
    assert (metrics["steps"], metrics["samples"], metrics["without_frames"]) == (4, 7, 1)
    assert metrics["last"]["loss"] == pytest.approx(float(curve(folder, "sft")[-1]["loss"]), abs=1e-4)


def cut_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Run the stage until it calls a given function of `record`."""

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(record, name, cut)
        with pytest.raises(KeyboardInterrupt):
            sft.main()


def test_a_killed_run_resumes_with_the_same_artifacts(tmp_path: Path, steps: list[int]) -> None:
    run_and_kill(tmp_path, "sft", step=3)
    assert checkpoints(tmp_path, "sft") == ["checkpoint-2"]
    whole = next(tmp_path.glob(".cache/openo3/sft/*/checkpoint-2"))
    half = whole.with_name("checkpoint-3")
    shutil.copytree(whole, half)
    (half / "digests.json").unlink()
    sft.main()
    assert steps == [2, 3]
    complete(tmp_path)
    assert not (tmp_path / "data/models/sft/training_args.bin").exists()
    assert checkpoints(tmp_path, "sft") == []
    once = {path.name: path.read_bytes() for path in (tmp_path / "data/models/sft").iterdir()}
    steps.clear()
    sft.main()  # nothing is left to resume from
    assert steps == [0, 1, 2, 3]
    assert {path.name: path.read_bytes() for path in (tmp_path / "data/models/sft").iterdir()} == once
    complete(tmp_path)


def test_a_run_killed_while_writing_artifacts_finishes_on_restart(
    tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_at(monkeypatch, "write_csv")
    steps.clear()
    shutil.rmtree(tmp_path / "data/models/sft")  # as DVC does before it runs a stage again
    sft.main()
    assert steps == []
    complete(tmp_path)
    assert not list(tmp_path.glob(".cache/openo3/sft/*"))


def test_a_changed_parameter_restarts_training(
    tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_at(monkeypatch, "keep")
    assert checkpoints(tmp_path, "sft") == ["checkpoint-2"]  # none at the end of training
    steps.clear()
    change_params(tmp_path, sft={"learning_rate": 2e-3})
    sft.main()
    assert steps == [0, 1, 2, 3]
    complete(tmp_path)


def test_other_base_weights_restart_training(
    tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """After a checkpoint, the base is replaced by another of the same size."""
    cut_at(monkeypatch, "keep")
    steps.clear()
    base = tmp_path / "data/models/base"
    own = shutil.copytree(base.resolve(), tmp_path / "own")
    weights = load_file(own / "model.safetensors")
    zeros = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    save_file(zeros, own / "model.safetensors", {"format": "pt"})
    base.unlink()
    base.symlink_to(own)
    sft.main()
    assert steps == [0, 1, 2, 3]
    said = "sft: starts anew: data/models/base/model.safetensors changed since the unfinished run"
    assert said in capsys.readouterr().out


def test_a_damaged_checkpoint_is_dropped(
    tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    cut_at(monkeypatch, "keep")
    (optimizer,) = tmp_path.glob(".cache/openo3/sft/*/checkpoint-2/optimizer.pt")
    optimizer.write_bytes(bytes(optimizer.stat().st_size))
    steps.clear()
    sft.main()
    assert steps == [0, 1, 2, 3]
    assert "sft: checkpoint-2 is dropped (the content of optimizer.pt has changed)" in capsys.readouterr().out
    complete(tmp_path)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second checkpoint on, no process can write a file larger than 100 kB."""
    save = Trainer.save_model

    def limited(self: Trainer, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if _internal_call and self.state.global_step > 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        save(self, output_dir, _internal_call)

    monkeypatch.setattr(Trainer, "save_model", limited)


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("then", ["continue", "stop"])
def test_a_full_disk_at_a_checkpoint_keeps_the_previous_one(
    tmp_path: Path, then: str, capsys: pytest.CaptureFixture
) -> None:
    change_params(tmp_path, sft={"save_steps": 1}, sft_on_full_disk=then)
    try:
        with pytest.raises(SystemExit) as stop:
            sft.main()
    finally:  # pytest may write what it reports to a file
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert stop.value.code == 1
    said = [line for line in capsys.readouterr().err.splitlines() if " was not saved (" in line]
    failed = [line.split(" was not saved")[0] for line in said]
    if then == "stop":
        assert failed == ["checkpoint-2"]
        assert said[0].endswith("earlier checkpoints are kept, training stops")
    else:
        assert failed == ["checkpoint-2", "checkpoint-3", "sft: the trained model"]
        assert said[0].endswith("earlier checkpoints are kept, training continues")
    assert checkpoints(tmp_path, "sft") == ["checkpoint-1"]
    assert not list(tmp_path.glob("data/models/sft*"))


def test_a_checkpoint_that_does_not_fit_on_the_disk_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    sft.main()
    said = [line for line in capsys.readouterr().err.splitlines() if "checkpoint-" in line]
    assert len(said) == 1
    assert said[0].startswith("checkpoint-2 was not saved (it needs 0.0")
    complete(tmp_path)


@pytest.mark.parametrize("direct", [None, False, True])
def test_direct_questions_are_added_when_enabled(
    direct: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {} if direct is None else {"direct": direct}
    examples = given_to_the_trainer(sft, monkeypatch, sft_data=data)[2]
    assert [sample.task for sample in examples.samples[7:]] == ([Task.WHERE] if direct else [])
    assert examples.counts == {"samples": 8 if direct else 7, "without_frames": 1, "too_long": 0}


@pytest.mark.parametrize("reasoning", [None, False, True])
def test_reasoning_is_taught_by_default(reasoning: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"direct": True} if reasoning is None else {"direct": True, "reasoning": reasoning}
    examples = given_to_the_trainer(sft, monkeypatch, sft_data=data)[2]
    targets = [examples.target(sample) for sample in examples.samples]
    assert [text.startswith("<think>") for text in targets] == [reasoning is not False] * 7 + [False]
    assert targets[7] == '{"2": [100,200,300,400]}'


def test_a_missing_base_model_fails_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "data/models/base").unlink()
    with pytest.raises(FileNotFoundError, match="data/models/base: no model here, run the stage"):
        sft.main()


def test_a_setting_unknown_to_trl_fails_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    refuses_an_unknown_setting(sft.main, "sft", tmp_path, capsys)


_FULL_DISKS = """
import resource
from transformers import Trainer
import stages.sft

LIMITS = {(2, 0): 100_000, (3, 1): 1_000}  # bytes of a file, by step and process
save = Trainer.save_model

def limited(self, output_dir=None, _internal_call=False):
    at = (self.state.global_step, self.args.process_index) if _internal_call else None
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMITS.get(at, -1), -1))
    save(self, output_dir, _internal_call)

Trainer.save_model = limited
stages.sft.main()
"""


@pytest.mark.slow
def test_two_processes_agree_that_the_disk_is_full(tmp_path: Path) -> None:
    """First one cannot write the weights, then the other its own state alone; both continue each time."""
    change_params(tmp_path, sft={"save_steps": 1, "per_device_train_batch_size": 1})
    done = in_two_processes(tmp_path, _FULL_DISKS)
    assert done.returncode == 0, done.stderr[-4000:]
    said = [line for line in done.stderr.splitlines() if " was not saved (" in line]
    assert [line.split(" was not saved (")[0] for line in said] == ["checkpoint-2", "checkpoint-3"]
    assert "sft: packs are dealt to 2 processes by their tokens" in done.stdout
    complete(tmp_path)
    assert not list(tmp_path.glob(".cache/openo3/sft/*"))


_LOST_FOLDER_AND_PROCESS = """
import os, shutil, signal
from pathlib import Path
from transformers import Trainer
import stages.sft

step, killed = Trainer.training_step, Path("killed")

def training_step(self, *args, **kwargs):
    main, done = self.is_world_process_zero(), self.state.global_step
    if main and done == 2 and not killed.exists():
        shutil.rmtree(".cache/openo3/sft")
    if not main and done == 3 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args, **kwargs)

Trainer.training_step = training_step
stages.sft.main()
"""


@pytest.mark.slow
def test_no_process_waits_for_one_that_was_killed(tmp_path: Path) -> None:
    """After two steps the folder of the checkpoints vanishes, after a third one a process does."""
    change_params(tmp_path, sft={"save_steps": 1, "per_device_train_batch_size": 1})
    done = in_two_processes(tmp_path, _LOST_FOLDER_AND_PROCESS)
    assert done.returncode != 0
    assert " was not saved (" not in done.stderr
    assert checkpoints(tmp_path, "sft") == ["checkpoint-3"]
    done = in_two_processes(tmp_path, _LOST_FOLDER_AND_PROCESS)
    assert done.returncode == 0, done.stderr[-4000:]
    complete(tmp_path)


def test_no_usable_record_fails_with_one_line(tmp_path: Path, capsys) -> None:
    rows = tmp_path / "data/validated"
    samples = list(read_jsonl(rows / "sft.jsonl"))
    rows.unlink()
    rows.mkdir()
    write_jsonl(rows / "sft.jsonl", [row | {"media": "videos/gone.mp4"} for row in samples])
    with pytest.raises(SystemExit) as stop:
        sft.main()
    assert stop.value.code == 2
    assert (
        "sft: no usable record in data/validated/sft.jsonl, nothing to train on\n" in capsys.readouterr().err
    )
