"""Switching profiles and back reruns nothing unchanged and loses no edit (a toy pipeline, real DVC)."""

import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

from openo3.cli import profile as profiles

PIPELINE = """
stages:
  download:
    cmd: mkdir -p raw && head -n 1 params.yaml > raw/data && echo download >> ran
    params: [download]
    outs: [{raw: {persist: true}}]
  train:
    cmd: "echo '[' $(wc -c < raw/data) ']' > loss.json && echo train >> ran"
    params: [train]
    deps: [raw]
    metrics: [{loss.json: {cache: false}}]
  report:
    cmd: cp loss.json report && echo report >> ran
    params: [report]
    deps: [loss.json]
    outs: [report]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["dvc", "init", "--quiet"], check=True)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    for name, text in {
        "large": "download: {n: 100}\ntrain: {n: 100}\nreport: {n: 1}\n",
        "small": "download: {n: 1}\ntrain: {n: 1}\nreport: {n: 1}\n",
        "brief": "download: {n: 100}\ntrain: {n: 100}\nreport: {n: 22}\n",
    }.items():
        (tmp_path / f"profiles/{name}.yaml").write_text(text)
    (tmp_path / "params.yaml").write_text((tmp_path / "profiles/large.yaml").read_text())
    return tmp_path


def repro() -> list[str]:
    """Names of the stages whose command ran."""
    log = Path("ran")
    log.unlink(missing_ok=True)
    subprocess.run(["dvc", "repro", "--quiet"], check=True)
    return log.read_text().split() if log.exists() else []


@pytest.mark.slow
def test_switching_and_back_reruns_no_unchanged_stage(folder: Path) -> None:
    assert repro() == ["download", "train", "report"]
    large = {name: Path(name).read_text() for name in ("raw/data", "loss.json", "report")}
    profiles.switch("brief")
    assert profiles.active() == "brief"
    assert repro() == ["report"], "download and train have the same parameters"
    profiles.switch("small")
    assert repro() == ["download", "train", "report"]
    assert Path("loss.json").read_text() != large["loss.json"]
    profiles.switch("large")
    assert repro() == [], "all of it is in the cache"
    assert {name: Path(name).read_text() for name in large} == large
    profiles.switch("small")
    assert repro() == []


def test_edits_are_never_overwritten(folder: Path) -> None:
    Path("params.yaml").write_text("train: {n: 5}\n")
    assert profiles.active() is None
    with pytest.raises(profiles.ProfileError, match=r"^params\.yaml: edited"):
        profiles.switch("small")
    assert Path("params.yaml").read_text() == "train: {n: 5}\n"


def test_an_edited_profile_can_be_activated_again(folder: Path) -> None:
    profiles.switch("small")
    for n in (2, 3):
        text = f"download: {{n: 1}}\ntrain: {{n: {n}}}\nreport: {{n: 1}}\n"
        Path("profiles/small.yaml").write_text(text)
        assert profiles.active() is None
        profiles.switch("small")
        assert profiles.active() == "small"
        assert Path("params.yaml").read_text() == text


def test_an_edited_profile_can_be_left_for_another(folder: Path) -> None:
    profiles.switch("small")
    Path("profiles/small.yaml").write_text("train: {n: 2}\n")
    profiles.switch("large")
    assert profiles.active() == "large"


def test_committed_parameters_can_be_replaced(folder: Path) -> None:
    Path("params.yaml").write_text("train: {n: 5}\n")
    subprocess.run(["git", "add", "params.yaml"], check=True)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-m", "as it is"], check=True)
    profiles.switch("small")
    assert profiles.active() == "small"


@pytest.mark.parametrize("note", ["", "[]", "{", "\0\0"])
def test_a_damaged_note_of_the_active_profile_is_rewritten(folder: Path, note: str) -> None:
    profiles.ACTIVATED.parent.mkdir()
    profiles.ACTIVATED.write_text(note)
    profiles.switch("small")
    assert profiles._activated() == "small"


def test_an_unknown_profile_is_named(folder: Path, capsys) -> None:
    assert profiles.run(Namespace(name="nope")) == 2
    expected = "openo3: profiles/nope.yaml: no such profile; there are brief, large, small\n"
    assert capsys.readouterr().err == expected
