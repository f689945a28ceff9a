"""A run resumes only from complete checkpoints and keeps the best ones."""

import os
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from openo3.training.checkpoints import (
    SEAL,
    KeepBest,
    NoLastCheckpoint,
    keepers,
    last_checkpoint,
    seal,
    space_needed,
)
from openo3.training.run import _to_resume


def checkpoint(folder: Path, step: int, *, sealed: bool = True) -> Path:
    made = folder / f"checkpoint-{step}"
    (made / "global_step").mkdir(parents=True)
    for name in ("model.safetensors", "scheduler.pt", "global_step/optimizer.pt"):
        (made / name).write_bytes(os.urandom(100 + step))
    if sealed:
        seal(made)
    return made


def test_the_newest_sealed_checkpoint_is_used(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert last_checkpoint(tmp_path, "sft") is None
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    half = checkpoint(tmp_path, 20, sealed=False)
    assert last_checkpoint(tmp_path, "sft") == str(newest)
    assert not half.exists()
    assert capsys.readouterr().out.splitlines() == [
        "sft: checkpoint-20 is dropped (it was not saved to the end): resumes from checkpoint-10"
    ]
    assert last_checkpoint(tmp_path, "sft") == str(newest)
    assert capsys.readouterr().out == ""


def test_another_number_of_devices_does_not_go_on_and_loses_nothing(tmp_path: Path) -> None:
    """With the same settings, each of its steps would have another batch."""
    assert _to_resume(tmp_path, "sft", 8) == (None, None)
    assert _to_resume(tmp_path, "sft", 4) == (None, None)  # nothing was trained yet
    newest = str(checkpoint(tmp_path, 10))
    assert _to_resume(tmp_path, "sft", 4) == (newest, None)
    _, problem = _to_resume(tmp_path, "sft", 1)
    assert problem is not None
    assert "checkpoint-10 was trained on 4 devices, now there are 1, " in problem
    assert _to_resume(tmp_path, "sft", 4) == (newest, None)
    (tmp_path / "devices.json").write_bytes(b"\0\0")  # a power cut
    assert _to_resume(tmp_path, "sft", 4) == (newest, None)


def cut(path: Path) -> None:
    os.truncate(path / "model.safetensors", 50)


def zero(path: Path) -> None:
    file = path / "global_step/optimizer.pt"
    file.write_bytes(bytes(file.stat().st_size))


def flip(path: Path) -> None:
    content = bytearray((path / "model.safetensors").read_bytes())
    content[40] ^= 1
    (path / "model.safetensors").write_bytes(content)


def lose(path: Path) -> None:
    (path / "scheduler.pt").unlink()


def spoil_the_seal(path: Path) -> None:
    (path / SEAL).write_bytes(bytes(200))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut, "model.safetensors has another size"),
        (zero, "the content of global_step/optimizer.pt has changed"),
        (flip, "the content of model.safetensors has changed"),
        (lose, "scheduler.pt is missing"),
        (spoil_the_seal, f"{SEAL} cannot be read"),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_previous_one(
    tmp_path: Path, harm, said: str, capsys: pytest.CaptureFixture
) -> None:
    older, newest = checkpoint(tmp_path, 10), checkpoint(tmp_path, 20)
    harm(newest)
    assert last_checkpoint(tmp_path, "gspo") == str(older)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"gspo: checkpoint-20 is dropped ({said}): resumes from checkpoint-10"
    harm(older)
    assert last_checkpoint(tmp_path, "gspo") is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("gspo: checkpoint-10 is dropped (")
    assert line.endswith("): there is no older one, starts anew")
    assert not list(tmp_path.iterdir())


def test_the_space_for_a_checkpoint_is_estimated_from_the_newest(tmp_path: Path) -> None:
    assert space_needed(tmp_path) == 0
    checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 20)
    checkpoint(tmp_path, 30, sealed=False)
    assert space_needed(tmp_path) == 3 * 120


def test_no_checkpoint_is_saved_at_the_end_of_training(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    left = []
    for step in (2, 4):
        control = TrainerControl(should_save=True)
        NoLastCheckpoint().on_step_end(args, TrainerState(global_step=step, max_steps=4), control)
        left.append(control.should_save)
    assert left == [True, False]


def test_the_best_checkpoints_are_kept_with_the_newest(tmp_path: Path) -> None:
    rewards = {10: 0.1, 20: 0.7, 30: 0.3, 40: 0.6, 50: 0.2}
    args = TrainingArguments(output_dir=str(tmp_path), save_steps=10, report_to="none", use_cpu=True)
    _, keep = keepers("reward", 2, greater_is_better=True)
    state, left = TrainerState(is_world_process_zero=True), []
    for step, reward in rewards.items():
        state.log_history += [
            {"step": step - 5, "reward": reward - 0.1},
            {"step": step, "reward": reward + 0.1},
        ]
        state.global_step = step
        checkpoint(tmp_path, step)
        keep.on_save(args, state, TrainerControl())
        left.append(sorted(int(path.name[11:]) for path in tmp_path.glob("checkpoint-*")))
    assert left == [[10], [10, 20], [10, 20, 30], [20, 30, 40], [20, 40, 50]]
    assert not list(tmp_path.glob("removed-*"))
    assert len(keepers("reward", None, greater_is_better=True)) == 1


def test_a_failed_save_keeps_the_complete_checkpoints(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), save_steps=10, report_to="none", use_cpu=True)
    state = TrainerState(is_world_process_zero=True, global_step=30)
    state.log_history = [{"step": step, "loss": loss} for step, loss in ((10, 0.1), (20, 0.9), (30, 0.5))]
    checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 20)
    KeepBest("loss", 1, greater_is_better=False).on_save(args, state, TrainerControl())
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-10", "checkpoint-20"}


def test_lower_losses_are_better_and_other_processes_remove_nothing(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), save_steps=1, report_to="none", use_cpu=True)
    state = TrainerState(is_world_process_zero=False, global_step=3)
    state.log_history = [{"step": step, "loss": loss} for step, loss in ((1, 0.5), (2, 0.9), (3, 0.7))]
    for step in (1, 2, 3):
        checkpoint(tmp_path, step)
    keep = KeepBest("loss", 1, greater_is_better=False)
    keep.on_save(args, state, TrainerControl())
    assert len(list(tmp_path.iterdir())) == 3
    state.is_world_process_zero = True
    keep.on_save(args, state, TrainerControl())
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-1", "checkpoint-3"}


def test_leftovers_of_a_removed_checkpoint_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "removed-4").mkdir()
    assert last_checkpoint(tmp_path, "sft") is None
    assert not list(tmp_path.iterdir())
