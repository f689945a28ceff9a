"""Stage `gspo` in a small workplace: its artifacts, and how it resumes after kill -9."""

import re
from pathlib import Path

import pytest
from trl import GRPOConfig

from openo3.core.rewards import RewardSettings
from openo3.core.schema import Task
from openo3.files.artifacts import read_json
from openo3.model.load import load_model, load_processor
from openo3.training.gspo import GroundedGSPOTrainer, check_save_steps
from stages import gspo
from stages.params import load_params
from tests.stages.training_stage import (
    ROOT,
    change_params,
    checkpoints,
    copy_workplace,
    curve,
    given_to_the_trainer,
    in_two_processes,
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
    assert rows[0]["rewards/ans_where"] in ("", "nan")  # no direct question was asked
    assert not rows[0]["kl"]
    metrics = read_json(folder / "metrics/gspo.json")
    assert (metrics["steps"], metrics["samples"], metrics["without_frames"]) == (4, 7, 1)


def test_a_killed_run_resumes_with_the_same_artifacts(
    place: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_and_kill(place, "gspo", step=3)
    assert checkpoints(place, "gspo") == ["checkpoint-2"]
    seeds, seed = [], GroundedGSPOTrainer._rollout_seed
    monkeypatch.setattr(
        GroundedGSPOTrainer, "_rollout_seed", lambda self: seeds.append(seed(self)) or seeds[-1]
    )
    gspo.main()
    assert steps == [2, 3]
    complete(place)
    weights = (place / "data/models/gspo/model.safetensors").read_bytes()
    resumed = seeds.pop()
    assert not seeds
    steps.clear()
    gspo.main()  # without a kill
    assert steps == [0, 1, 2, 3]
    assert seeds[1] == resumed != seeds[0]
    complete(place)
    assert (place / "data/models/gspo/model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("direct", [None, False, True])
def test_direct_questions_are_added_when_enabled(
    place: Path, direct: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {} if direct is None else {"direct": direct}
    weights = {"weights": {"ans_where": 1.0}}
    examples = given_to_the_trainer(gspo, monkeypatch, gspo_data=data, gspo_rewards=weights)[2]
    assert [sample.task for sample in examples.samples[7:]] == ([Task.WHERE] if direct else [])
    assert examples.counts["samples"] == (8 if direct else 7)


def test_rewards_follow_the_parameters(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = given_to_the_trainer(gspo, monkeypatch)[4]
    assert usual == RewardSettings("symmetric", 1.0, False, True, None)
    weights = {"ans_where": 2.0, "thk_spatial": 0.0}
    chosen = {"gate": "released", "gate_s": 1.0e9, "coverage": True, "adaptive": False, "weights": weights}
    given = given_to_the_trainer(gspo, monkeypatch, gspo_rewards=chosen)[4]
    assert given == RewardSettings("released", 1.0e9, True, False, weights)


def test_the_training_curve_has_a_column_for_direct_questions(place: Path) -> None:
    """The run's eight prompts cover all eight samples, so every direct question is asked."""
    others = {"gspo_data": {"direct": True}, "gspo_rewards": {"weights": {"ans_where": 1.0}}}
    change_params(place, gspo={"max_steps": 4}, **others)
    gspo.main()
    rows = curve(place, "gspo")
    assert any(row["rewards/ans_where"] == "0.0" for row in rows)
    assert read_json(place / "metrics/gspo.json")["samples"] == 8


def test_direct_questions_without_their_reward_are_an_error(
    place: Path, capsys: pytest.CaptureFixture
) -> None:
    change_params(place, gspo_data={"direct": True})
    with pytest.raises(SystemExit, match="2"):
        gspo.main()
    assert "data.direct: only ans_where judges these questions" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_together(inputs: Path, tmp_path: Path) -> None:
    """Both trainers, each process with its share of the rows."""
    folder = copy_workplace(inputs, tmp_path)
    change_params(folder, gspo={"per_device_train_batch_size": 2})
    done = in_two_processes(folder, BOTH)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "processes: 2" in done.stdout
    complete(folder)
    assert len(curve(folder, "sft")) == 4
    assert not list(folder.glob(".cache/openo3/*/*"))


def test_a_setting_unknown_to_trl_fails_with_one_line(place: Path, capsys: pytest.CaptureFixture) -> None:
    refuses_an_unknown_setting(gspo.main, "gspo", place, capsys)


def test_too_few_records_fail_with_settings_that_fit(place: Path, capsys: pytest.CaptureFixture) -> None:
    rows = (place / "data/validated/rl.jsonl").read_text().splitlines(keepends=True)
    (place / "data/validated").unlink()
    (place / "data/validated").mkdir()
    (place / "data/validated/rl.jsonl").write_text("".join(rows[:2]))
    with pytest.raises(SystemExit) as stop:
        gspo.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("params.yaml: gspo.trainer: a rollout has 4 prompts")
    batch, steps = re.search(r"batch_size to (\d+) and steps_per_generation to at most (\d+)$", said).groups()
    fitting = {"per_device_train_batch_size": int(batch), "steps_per_generation": int(steps), "max_steps": 1}
    change_params(place, gspo=fitting)
    gspo.main()
    assert read_json(place / "metrics/gspo.json")["samples"] == 2


def test_a_checkpoint_in_the_middle_of_a_rollout_is_refused(
    place: Path, capsys: pytest.CaptureFixture
) -> None:
    change_params(place, gspo={"save_steps": 3})
    with pytest.raises(SystemExit) as stop:
        gspo.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "params.yaml: gspo.trainer: save_steps 3 falls into the middle of a rollout, which lasts 2 steps "
        "(steps_per_generation): the next good number is 4"
    )


@pytest.mark.parametrize("profile", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_saves_between_rollouts(profile: Path, tmp_path: Path) -> None:
    trainer = load_params("gspo", gspo.Params, str(profile)).trainer
    kept = ("save_steps", "steps_per_generation", "gradient_accumulation_steps", "num_generations")
    settings = {name: trainer[name] for name in kept if name in trainer}
    settings |= {"per_device_train_batch_size": trainer["per_device_train_batch_size"], "use_cpu": True}
    check_save_steps(GRPOConfig(output_dir=str(tmp_path), bf16=False, report_to="none", **settings))
