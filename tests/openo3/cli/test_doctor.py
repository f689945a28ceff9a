"""`openo3 doctor` reports what is missing, runs fast, and never shows a token."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from openo3.cli import doctor

EVERYTHING = """
requires:
  gpus: 8
  gpu_memory_gb: 80
  memory_gb: 100000
  disk_gb: 1000000
  cpu_cores: 1000
  logins: [huggingface]
gspo: {trainer: {use_vllm: true}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """An empty checkout on a machine without logins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "profiles").mkdir()
    return tmp_path


def rows(output: str) -> dict[str, str]:
    """Map the first two words of each table row to the row."""
    cells = [line.split("│") for line in output.splitlines() if line.startswith("│")]
    return {cell[1].strip(): " ".join(cell) for cell in cells}


def test_a_profile_without_needs_has_nothing_missing(folder, capsys) -> None:
    (folder / "params.yaml").write_text("requires: {}")
    assert doctor.main() == 0
    assert capsys.readouterr().out.endswith("nothing is missing\n")


def test_every_missing_requirement_is_named_with_what_to_do(folder, monkeypatch, capsys) -> None:
    (folder / "profiles/large.yaml").write_text(EVERYTHING)
    monkeypatch.setenv("PATH", str(folder))  # no nvidia-smi, no nvcc
    assert doctor.main("large") == 1
    table = rows(capsys.readouterr().out)
    missing = {what for what, row in table.items() if "missing" in row}
    assert missing >= {
        "1000 CPU cores",
        "100000 GB of memory",
        "1e+06 GB of disk",
        "vllm",
        "8 GPUs of 80 GB",
        "login to the model hub",
    }
    assert "not needed" in table["deepspeed"]


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ("{}", set()),
        ("{sft: {trainer: null}, gspo: null, evaluate: {vllm: null}}", set()),
        ("{evaluate: {vllm: {}}}", {"vllm"}),
        ("{gspo: {trainer: {use_vllm: true}}}", {"vllm"}),
        ("{sft: {trainer: {deepspeed: zero2.json}}}", {"deepspeed"}),
    ],
)
def test_packages_are_required_only_where_settings_use_them(settings: str, needed: set[str]) -> None:
    found = doctor._packages(yaml.safe_load(settings))
    assert {finding.what for finding in found if finding.needed} == needed


def test_gpus_are_counted_by_memory(folder, monkeypatch) -> None:
    smi = folder / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771'\necho 'NVIDIA T4, 15360'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")

    def gpu(**needs) -> doctor.Finding:
        return next(doctor._gpus(doctor.Requirements(**needs), {}))

    assert gpu(gpus=1, gpu_memory_gb=80).ok
    assert gpu(gpus=2, gpu_memory_gb=10).ok
    assert not gpu(gpus=2, gpu_memory_gb=80).ok
    assert "H200 151 GB" in gpu(gpus=1).found


def test_a_token_is_detected_and_its_value_never_shown(folder, monkeypatch, capsys) -> None:
    (folder / "params.yaml").write_text("requires: {logins: [huggingface, wandb]}")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    (folder / "netrc").write_text("machine api.wandb.ai login user password secretsecret\n")
    assert doctor.main() == 0
    assert "secret" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("profile", "text", "named"),
    [
        ("nope", "", "profiles/nope.yaml: no such profile; there are: large"),
        ("large", "requires: {gpu: 1}", "profiles/large.yaml: requires.gpu: unknown key"),
        ("large", "requires: {gpus: many}", "profiles/large.yaml: requires.gpus"),
        ("large", "sft: {}", "profiles/large.yaml: requires: missing block"),
    ],
)
def test_a_bad_profile_fails_with_one_line(folder, capsys, profile: str, text: str, named: str) -> None:
    (folder / "profiles/large.yaml").write_text(text)
    assert doctor.main(profile) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(named)


def test_doctor_takes_less_than_three_seconds_and_does_not_import_torch(folder) -> None:
    """Seconds of a processor, since others may be busy here."""
    (folder / "params.yaml").write_text("requires: {}")
    code = "import sys, time; from openo3.cli import doctor; doctor.main(); assert 'torch' not in sys.modules"
    code += "; assert time.process_time() < 3"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ), capture_output=True)
