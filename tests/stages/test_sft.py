"""Stage `sft` in a small workplace: what it leaves, and how it goes on after kill -9."""

import shutil
from pathlib import Path

import pytest

from openo3.core.schema import Task
from openo3.files.artifacts import read_json
from openo3.model.load import load_model, load_processor
from stages import sft
from tests.openo3.training import workplace
from tests.stages.training_stage import (
    checkpoints,
    copy_workplace,
    curve,
    given_to_the_trainer,
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
    """Run the stage up to a call of `record`'s function."""

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sft.record, name, cut)
        with pytest.raises(KeyboardInterrupt):
            sft.main()


def test_killed_and_started_again(tmp_path: Path, steps: list[int]) -> None:
    run_and_kill(tmp_path, "sft", step=3)
    assert checkpoints(tmp_path, "sft") == ["checkpoint-2"]
    whole = next(tmp_path.glob(".cache/openo3/sft/*/checkpoint-2"))
    half = whole.with_name("checkpoint-3")
    shutil.copytree(whole, half)
    (half / "trainer_state.json").unlink()
    sft.main()
    assert steps == [2, 3]
    complete(tmp_path)
    assert not (tmp_path / "data/models/sft/training_args.bin").exists()
    assert checkpoints(tmp_path, "sft") == []
    once = {path.name for path in (tmp_path / "data/models/sft").iterdir()}
    steps.clear()
    sft.main()  # nothing is left to go on from
    assert steps == [0, 1, 2, 3]
    assert {path.name for path in (tmp_path / "data/models/sft").iterdir()} == once
    complete(tmp_path)


def test_killed_while_writing_the_artifacts(
    tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_at(monkeypatch, "write_csv")
    steps.clear()
    sft.main()
    assert steps == []
    complete(tmp_path)


def test_a_changed_parameter_starts_anew(
    tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_at(monkeypatch, "save")
    assert checkpoints(tmp_path, "sft") == ["checkpoint-4"]
    steps.clear()
    (tmp_path / "params.yaml").unlink()
    workplace.write_params(tmp_path, sft={"learning_rate": 2e-3})
    sft.main()
    assert steps == [0, 1, 2, 3]
    complete(tmp_path)


@pytest.mark.parametrize("direct", [None, False, True])
def test_direct_questions_are_added_where_asked_for(
    direct: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {} if direct is None else {"direct": direct}
    examples = given_to_the_trainer(sft, monkeypatch, sft_data=data)[2]
    assert [sample.task for sample in examples.samples[7:]] == ([Task.WHERE] if direct else [])
    assert examples.counts == {"samples": 8 if direct else 7, "without_frames": 1, "too_long": 0}


@pytest.mark.parametrize("reasoning", [None, False, True])
def test_reasoning_is_taught_unless_told_otherwise(
    reasoning: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"direct": True} if reasoning is None else {"direct": True, "reasoning": reasoning}
    examples = given_to_the_trainer(sft, monkeypatch, sft_data=data)[2]
    targets = [examples.target(sample) for sample in examples.samples]
    assert [text.startswith("<think>") for text in targets] == [reasoning is not False] * 7 + [False]
    assert targets[7] == '{"2": [100,200,300,400]}'


def test_a_missing_base_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data/models/base").unlink()
    with pytest.raises(FileNotFoundError, match="data/models/base: no model here, run the stage"):
        sft.main()


def test_a_setting_that_trl_does_not_know_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    refuses_an_unknown_setting(sft.main, "sft", tmp_path, capsys)


def test_without_a_usable_record_it_ends_with_one_line(tmp_path: Path, capsys) -> None:
    rows = tmp_path / "data/validated"
    rows.unlink()
    rows.mkdir()
    (rows / "sft.jsonl").write_text("")
    with pytest.raises(SystemExit) as stop:
        sft.main()
    assert stop.value.code == 2
    assert (
        "sft: no usable record in data/validated/sft.jsonl, nothing to train on\n" in capsys.readouterr().err
    )
