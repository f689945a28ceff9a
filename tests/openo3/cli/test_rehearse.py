"""`openo3 rehearse`: refused in one line where it cannot run; on a CPU it runs the real stages of `smoke`."""

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from openo3.cli import main as cli
from openo3.cli import rehearse as command
from openo3.configuration import read_blocks
from openo3.rehearsal.rehearse import RehearsalError, Request, checked
from tools.code_deps import ROOT


@pytest.fixture
def without_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The checkout on a machine without nvidia-smi, where whatever is built would be seen in `tmp_path`."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def request(profile: str, **settings: object) -> Request:
    return Request(ROOT, profile, read_blocks(ROOT / f"profiles/{profile}.yaml"), **settings)


def test_a_model_that_is_too_large_is_refused_in_one_line_before_anything_is_built(
    without_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(command, "memory_bytes", lambda: 24 * 10**9)
    assert cli.main(["rehearse", "--profile", "open-o3-8b"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "openo3: open-o3-8b: training Qwen/Qwen3-VL-8B-Instruct with 8.8 billion weights takes more than "
        "140 GB without GPUs, and this machine has 24 GB and no GPU that torch can use\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_settings_for_gpus_are_refused_on_a_large_machine_without(without_gpus: None) -> None:
    with pytest.raises(RehearsalError, match="its trainers use DeepSpeed, which needs GPUs"):
        checked(request("open-o3-7b", memory_bytes=10**12))


def test_an_unknown_profile_and_an_unknown_model_are_refused(
    without_gpus: None, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["rehearse", "--profile", "other"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("openo3: profiles/other.yaml: no such profile; there are: ")
    assert "open-o3-7b" in line
    unknown = request("open-o3-7b")
    unknown.blocks["base_model"]["source"] = "someone/model"
    with pytest.raises(RehearsalError, match=r"someone/model .* there are Qwen/Qwen2.5-VL-7B-Instruct"):
        checked(unknown)


@pytest.mark.parametrize("key", ["launcher", "sft.trainer", "base_model.source"])
def test_a_profile_without_a_block_is_refused(key: str, without_gpus: None) -> None:
    lacking = request("smoke")
    *above, last = key.split(".")
    (lacking.blocks[above[0]] if above else lacking.blocks).pop(last)
    with pytest.raises(RehearsalError, match=rf"smoke: {key}(\.train)?: missing key"):
        checked(lacking)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": 4}, "--layers is for hub models"),
        ({"gpus": 2}, "starts one process, so --gpus 2 has no meaning"),
    ],
)
def test_options_without_meaning_are_refused(without_gpus: None, settings: dict, said: str) -> None:
    with pytest.raises(RehearsalError, match=said):
        checked(request("smoke", **settings))


def test_a_full_folder_is_not_written_into(
    without_gpus: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "own.txt").write_text("mine")
    assert cli.main(["rehearse", "--profile", "smoke", "--keep", str(tmp_path)]) == 2
    assert "is not empty; name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]


OTHERS = ("__pycache__", ".hypothesis", ".pytest_cache")
"""What other tests, and this one's process, write meanwhile."""


def checkout_state() -> str:
    listing = ["git", "status", "--porcelain", "--ignored", "--untracked-files=all"]
    lines = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return "\n".join(line for line in lines if not any(name in line for name in OTHERS))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_stages_are_rehearsed_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Every stage ends at its checkpoint, resumes and is projected; the checkout stays clean."""
    monkeypatch.chdir(ROOT)
    before = checkout_state()
    keep = tmp_path / "kept"
    assert (
        cli.main(["rehearse", "--profile", "smoke", "--minutes", "0.01", "--json", "--keep", str(keep)]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert checkout_state() == before
    for name, cycle in (("sft", 1), ("gspo", 2)):
        stage = found["stages"][name]
        trained = stage["training"]
        assert stage["failed"] is None
        assert stage["resumed"] == [stage["saved_at"] + 1, stage["saved_at"] + cycle]
        assert sum(trained["parts"].values()) == pytest.approx(trained["step_s"])
        assert trained["tokens_per_s"] > 0
        assert trained["passed_tokens"] > trained["passed_patches"] / 4 > 0
        assert stage["memory_bytes"] > 10**8
        # single precision weights and two moments, and little else
        assert 12 < stage["checkpoint_bytes"] / found["size"]["weights"] < 14
        assert 4 < stage["model_bytes"] / found["size"]["weights"] < 5
        assert (keep / f"data/models/{name}/model.safetensors").exists()
    completions = found["stages"]["gspo"]["training"]
    assert completions["completions_per_s"] > 0
    assert 1 <= completions["completion_tokens"] <= 32
    assert {"rollout", "update"} <= completions["parts"].keys()
    assert {(each["benchmark"], each["condition"]) for each in found["evaluation"]["asked"]} == {
        ("vstar", "greedy"), ("vstar", "sampled"), ("vstar", "plain"), ("vstar", "blind"),
        ("tvgbench", "greedy"), ("tvgbench", "plain"),
    }  # fmt: skip
    whole = found["whole"]
    assert [stage["steps"] for stage in whole["stages"]] == [4, 4]
    assert set(whole["evaluation_hours"]) == {"base", "sft", "gspo"}
    assert 0 < whole["hours"] < 1
    assert found["problems"] == []
