"""A run goes on only from whole checkpoints of the same inputs and settings."""

from pathlib import Path

from openo3.training.checkpoints import last_checkpoint, workspace


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
