"""An unfinished run resumes only if everything it depends on is unchanged."""

import json
import os
from pathlib import Path

import pytest

from openo3.files import import_closure
from openo3.training import workspace as module
from openo3.training.workspace import NOTES, workspace


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model and rows; every file counts as large, so that its digest is cached."""
    monkeypatch.setattr(module, "_NOTED", 1)
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/model.safetensors").write_bytes(b"weights")
    Path("rows.jsonl").write_text("1")
    return tmp_path


def folder(settings: object = None, stage: str = "sft") -> Path:
    return workspace(stage, [Path("rows.jsonl"), Path("model")], settings, code="sft", root=Path("cache"))


def said(capsys: pytest.CaptureFixture) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_the_same_run_finds_its_unfinished_work(place: Path, capsys: pytest.CaptureFixture) -> None:
    first = folder({"lr": 1})
    (first / "checkpoint-1").mkdir()
    assert folder({"lr": 1}) == first
    assert (first / "checkpoint-1").is_dir()
    other = folder({"lr": 1}, stage="gspo")
    assert other != first
    assert first.exists()
    assert said(capsys) == []


def test_changed_settings_restart_training(place: Path, capsys: pytest.CaptureFixture) -> None:
    first = folder({"lr": 1})
    assert folder({"lr": 2}) != first
    assert not first.exists()
    assert said(capsys) == ["sft: starts anew: the parameters changed since the unfinished run"]


def replace(file: Path, content: bytes) -> None:
    """Replace a file by another one with the same times."""
    status = file.stat()
    new = file.with_suffix(".new")
    new.write_bytes(content)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.replace(file)


def overwrite(file: Path, content: bytes) -> None:
    status = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [replace, overwrite])
def test_other_weights_of_the_same_size_and_time_restart_training(
    place: Path, change, capsys: pytest.CaptureFixture
) -> None:
    first = folder()
    change(Path("model/model.safetensors"), b"WEIGHTS")
    second = folder()
    assert second != first
    assert said(capsys) == ["sft: starts anew: model/model.safetensors changed since the unfinished run"]
    change(Path("model/model.safetensors"), b"weights")
    assert folder().name == first.name


def test_a_large_file_is_hashed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, read = folder(), []
    digest = module.hashlib.file_digest
    monkeypatch.setattr(
        module.hashlib, "file_digest", lambda file, name: read.append(file.name) or digest(file, name)
    )
    assert folder() == first
    assert read == []
    os.utime("model/model.safetensors")
    assert folder() == first
    assert read == ["model/model.safetensors"]


def test_damaged_notes_are_rewritten(place: Path) -> None:
    first = folder()
    for damage in (b"\0\0\0", b"[1]\n{", b'"x"\n\xff\n'):
        (Path("cache") / NOTES).write_bytes(damage)
        assert folder() == first
    assert [json.loads(line) for line in (Path("cache") / NOTES).read_bytes().splitlines()[-1:]]


def test_changed_code_restarts_training(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert "openo3/core/prompts.py" in import_closure.closure("sft")
    first = folder()
    copy = place / "copy"
    for name in import_closure.closure("sft"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((import_closure.ROOT / name).read_bytes())
    monkeypatch.setattr(module, "ROOT", copy)
    assert folder() == first
    with (copy / "openo3/core/prompts.py").open("a") as prompts:
        prompts.write("# another wording\n")
    assert folder() != first
    assert said(capsys) == ["sft: starts anew: openo3/core/prompts.py changed since the unfinished run"]


def test_another_library_version_restarts_training(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder()
    monkeypatch.setattr(module.metadata, "version", lambda library: "0.1")
    folder()
    (line,) = said(capsys)
    assert line.startswith("sft: starts anew: accelerate, ")


def test_other_processes_of_a_run_do_not_touch_the_unfinished_work(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folder({"lr": 1})
    monkeypatch.setenv("RANK", "1")
    assert folder({"lr": 2}).is_dir()
    assert first.exists()
