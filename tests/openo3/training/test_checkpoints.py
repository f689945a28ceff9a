"""A run goes on only from whole checkpoints of the same inputs and settings."""

from pathlib import Path

from transformers import TrainerControl, TrainerState, TrainingArguments

from openo3.training.checkpoints import KeepBest, keepers, last_checkpoint, workspace


def checkpoint(folder: Path, step: int, state: str | None = "{}") -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").touch()
    if state is not None:
        (made / "trainer_state.json").write_text(state)
    return made


def test_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    halves = [checkpoint(tmp_path, 20, None), checkpoint(tmp_path, 30, '{"global_step": 3')]
    assert last_checkpoint(tmp_path) == str(newest)
    assert not any(half.exists() for half in halves)


def test_a_workspace_belongs_to_its_inputs_and_settings(tmp_path: Path) -> None:
    rows, model = tmp_path / "rows.jsonl", tmp_path / "model"
    rows.write_text("1")
    model.mkdir()
    (model / "weights").write_text("w")

    def folder(settings: dict) -> Path:
        return workspace("sft", [rows, model], settings, tmp_path / "cache")

    first = folder({"lr": 1})
    checkpoint(first, 1)
    assert folder({"lr": 1}) == first
    assert (first / "checkpoint-1").exists()
    changed = [folder({"lr": 2})]
    assert not first.exists()
    rows.write_text("2")
    changed.append(folder({"lr": 1}))
    (model / "weights").write_text("v")
    changed.append(folder({"lr": 1}))
    assert len({first, *changed}) == 4
    other = workspace("gspo", [rows, model], {"lr": 1}, tmp_path / "cache")
    assert other.exists()
    assert changed[-1].exists()


def test_the_best_stay_beside_the_newest(tmp_path: Path) -> None:
    rewards = {10: 0.1, 20: 0.7, 30: 0.3, 40: 0.6, 50: 0.2}
    args = TrainingArguments(output_dir=str(tmp_path), save_steps=10, report_to="none", use_cpu=True)
    (keep,) = keepers("reward", 2, greater_is_better=True)
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
    assert keepers("reward", None, greater_is_better=True) == []


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


def test_what_is_left_of_a_removed_checkpoint_goes(tmp_path: Path) -> None:
    (tmp_path / "removed-4").mkdir()
    assert last_checkpoint(tmp_path) is None
    assert not list(tmp_path.iterdir())
