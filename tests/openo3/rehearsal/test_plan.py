"""What a rehearsal changes of a profile, and how its stages are launched."""

from pathlib import Path

import pytest

from openo3.configuration import read_blocks
from openo3.rehearsal import plan
from tools.code_deps import ROOT

ACCELERATE = "accelerate launch --config_file launch/gpus.yaml"


def blocks_of(profile: str) -> dict:
    return read_blocks(ROOT / f"profiles/{profile}.yaml")


@pytest.mark.parametrize(
    ("profile", "cycle", "prompts", "packs"),
    [("open-o3-8b", 4, 128, 8), ("open-o3-7b", 1, 8, 8)],
)
def test_rollouts_and_steps_of_the_profiles_on_eight_gpus(
    profile: str, cycle: int, prompts: int, packs: int
) -> None:
    blocks = blocks_of(profile)
    assert plan.steps_per_rollout(blocks["gspo"]["trainer"]) == cycle
    assert plan.prompts_per_rollout(blocks["gspo"]["trainer"], 8) == prompts
    assert plan.packs_per_step(blocks["sft"]["trainer"], 8) == packs


def test_accumulated_batches_shorten_a_rollout() -> None:
    trainer = {"steps_per_generation": 4, "gradient_accumulation_steps": 2, "num_iterations": 3}
    assert plan.steps_per_rollout(trainer) == 6
    assert plan.steps_per_rollout({"gradient_accumulation_steps": 8}) == 1


def test_only_steps_records_and_reports_are_changed() -> None:
    blocks = blocks_of("open-o3-8b")
    own = plan.shortened(blocks, ROOT, records=12, world=None)
    changed = {
        f"{stage}.{name}"
        for stage in plan.TRAINING
        for name, value in own[stage]["trainer"].items()
        if blocks[stage]["trainer"].get(name) != value
    }
    names = ("max_steps", "save_strategy", "save_steps", "logging_strategy", "logging_steps", "report_to")
    assert changed == {f"{stage}.{name}" for stage in plan.TRAINING for name in (*names, "deepspeed")}
    assert own["gspo"]["trainer"]["save_steps"] == 4
    assert Path(own["gspo"]["trainer"]["deepspeed"]) == ROOT / "launch/zero3.json"
    assert own["evaluate"]["max_records"] == 12
    assert blocks == blocks_of("open-o3-8b")
    for block in ("base_model", "download", "validate", "sample_frames", "launcher", "requires"):
        assert own[block] == blocks[block]


def test_votes_are_shortened_too_and_made_data_are_local(tmp_path: Path) -> None:
    own = plan.shortened(blocks_of("shapes"), ROOT, records=12, world=tmp_path)
    assert own["evaluate"]["votes"]["max_records"] == 12
    assert own["download"] == {"source": "local", "path": str(tmp_path)}


def test_the_launcher_gets_the_number_of_gpus() -> None:
    file = str(ROOT / "launch/gpus.yaml")
    launched = ["accelerate", "launch", "--num_processes", "4", "--config_file", file]
    assert plan.command(ACCELERATE, ROOT, 4) == launched
    assert plan.command(f"{ACCELERATE} --num_processes 8", ROOT, 4) == launched
    assert plan.command(ACCELERATE, ROOT, None) == ["accelerate", "launch", "--config_file", file]
    assert plan.command("torchrun --nnodes 1 --nproc_per_node=8", ROOT, 2) == [
        "torchrun", "--nproc-per-node", "2", "--nnodes", "1",
    ]  # fmt: skip
    assert plan.command("python", ROOT, 1) == ["python"]
    with pytest.raises(plan.LauncherError, match="--gpus 2 has no meaning"):
        plan.command("python", ROOT, 2)


@pytest.mark.parametrize(
    ("launcher", "count"),
    [
        ("python", 1),
        (ACCELERATE, 8),
        (f"{ACCELERATE} --num_processes 3", 3),
        ("torchrun --nproc-per-node=4", 4),
        ("torchrun --nproc-per-node gpu", 1),
    ],
)
def test_the_number_of_processes_is_read_from_the_launcher(launcher: str, count: int) -> None:
    assert plan.processes(launcher, ROOT) == count
