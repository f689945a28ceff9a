"""Hours, disk and changes worked out by hand."""

import copy

import pytest

from openo3.configuration import read_blocks
from openo3.rehearsal import footprint
from openo3.rehearsal.projection import (
    Counts,
    Whole,
    checkpoints_kept,
    checkpoints_saved,
    evaluation_hours,
    smallest_change,
    stage_hours,
    whole_steps,
)
from openo3.rehearsal.timings import Asked
from tools.code_deps import ROOT

COUNTS = Counts("by hand", packs=31_000, prompts=37_231, benchmarks={"vstar": 2094})
SHAPE = footprint.Shape(8.8, layers=36, hidden=4096, intermediate=12288, kv_width=1024)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(ROOT)  # DeepSpeed's settings are files of the checkout
    return read_blocks("profiles/open-o3-8b.yaml")


def test_steps_of_an_epoch(blocks: dict) -> None:
    assert whole_steps("sft", blocks, COUNTS, processes=8) == 3875
    assert whole_steps("gspo", blocks, COUNTS, processes=8) == 37_231 // 128 * 4
    blocks["sft"]["trainer"]["max_steps"] = 200
    assert whole_steps("sft", blocks, COUNTS, processes=8) == 200


@pytest.mark.parametrize(
    ("steps", "every", "saved"), [(1160, 100, 11), (200, 100, 1), (200, 80, 2), (200, 0.25, 3), (50, 100, 0)]
)
def test_no_checkpoint_is_saved_at_the_end(steps: int, every: float, saved: int) -> None:
    assert checkpoints_saved({"save_steps": every}, steps) == saved


def test_without_a_limit_all_checkpoints_are_kept() -> None:
    assert checkpoints_kept({"trainer": {}}, 11) == 11
    assert checkpoints_kept({"trainer": {"save_total_limit": 1}}, 11) == 2
    assert checkpoints_kept({"trainer": {"save_total_limit": 1}, "keep_best": 3}, 11) == 5
    assert checkpoints_kept({"trainer": {"save_total_limit": 1}}, 1) == 1


def test_hours_and_disk_of_a_stage(blocks: dict) -> None:
    blocks["gspo"]["trainer"]["save_total_limit"] = None  # all checkpoints stay
    found = stage_hours(
        "gspo", blocks, 1160, 10.0,
        loading_s=100, save_s=60, checkpoint_bytes=123 * 10**9, ending_s=40, model_bytes=18 * 10**9,
    )  # fmt: skip
    assert found.hours == pytest.approx((100 + 11_600 + 11 * 60 + 40) / 3600)
    assert found.checkpoints_gb == pytest.approx(11 * 123)
    whole = Whole([found], {"base": 1.5}, frames_gb=2.0)
    assert whole.hours == pytest.approx(found.hours + 1.5)
    assert whole.disk_gb == pytest.approx(11 * 123 + 18 + 2)


def test_each_checkpoint_is_evaluated_in_its_own_conditions() -> None:
    blocks = {
        "evaluate": {
            "decodings": {"vstar": ["greedy", "plain", "voted", "confident"], "videomme": ["greedy"]},
            "except_for": {"base": ["voted", "confident"], "sft": ["confident"]},
            "votes": {"max_records": 100},
        }
    }
    asked = [
        Asked("vstar", "greedy", 10, 20.0),
        Asked("vstar", "plain", 10, 10.0),
        Asked("vstar", "8 samples", 10, 50.0),
        Asked("vstar", "evidence of the samples", 10, 30.0),
    ]
    hours, left_out = evaluation_hours(blocks, asked, 60.0, COUNTS)
    plain = 60 + 2094 * (2 + 1)
    assert hours["base"] == pytest.approx(plain / 3600)
    assert hours["sft"] == pytest.approx((plain + 100 * 5) / 3600)
    assert hours["gspo"] == pytest.approx((plain + 100 * 5 + 100 * 3) / 3600)
    assert left_out == ["videomme"]


def test_what_fits_needs_no_change(blocks: dict) -> None:
    assert smallest_change("sft", blocks, SHAPE, 8, 80.0, measured_gb=76.0) is None


def test_the_cheapest_change_that_makes_room_is_named(blocks: dict) -> None:
    change = smallest_change("sft", blocks, SHAPE, 8, 80.0, measured_gb=77.0)
    assert change == "every_n_layers: 1 in sft.trainer.gradient_checkpointing_kwargs"
    change = smallest_change("gspo", blocks, SHAPE, 8, 80.0, measured_gb=77.0)
    assert change == "gspo.data.tokens_per_batch: 65536"


def test_changes_are_joined_where_no_single_one_is_enough(blocks: dict) -> None:
    """The named changes, written into the profile, fit by the same estimate; one of them alone does not."""
    before = copy.deepcopy(blocks)
    assert smallest_change("sft", blocks, SHAPE, 4, 48.0, None) == (
        "every_n_layers: 1 in sft.trainer.gradient_checkpointing_kwargs and "
        "sft.trainer.deepspeed: launch/zero3.json"
    )
    assert blocks == before

    def fits() -> bool:
        parts = footprint.gpu_memory_gb("sft", blocks, SHAPE, 4, 48.0)
        return footprint.most_at_once_gb(parts) <= footprint.FITS * 48.0

    blocks["sft"]["trainer"]["deepspeed"] = "launch/zero3.json"
    assert not fits()
    blocks["sft"]["trainer"]["gradient_checkpointing_kwargs"]["every_n_layers"] = 1
    assert fits()


def test_an_adapter_comes_after_all_that_trains_the_same(blocks: dict) -> None:
    change = smallest_change("sft", blocks, SHAPE, 2, 60.0, None)
    assert change == "sft.lora: {r: 64, lora_alpha: 128, target_modules: all-linear}"


def test_half_as_many_rows_train_on_the_same_batches(blocks: dict) -> None:
    blocks["gspo"]["trainer"] |= {"use_vllm": True, "vllm_mode": "server"}  # no cache of its own
    change = smallest_change("gspo", blocks, SHAPE, 8, 80.0, measured_gb=77.0)
    assert change == (
        "gspo.trainer: {per_device_train_batch_size: 8, gradient_accumulation_steps: 2, "
        "steps_per_generation: 8}"
    )


def test_without_a_change_that_is_enough_more_gpus_are_named(blocks: dict) -> None:
    trainer = blocks["sft"]["trainer"]
    blocks["sft"]["lora"] = {"r": 8}
    trainer |= {"deepspeed": "launch/zero3.json", "gradient_checkpointing_kwargs": {"every_n_layers": 1}}
    assert smallest_change("sft", blocks, SHAPE, 1, 20.0, None) == "2 GPUs"
    assert smallest_change("sft", blocks, SHAPE, 1, 2.0, None) == "GPUs with more memory"
