"""A disk that refuses to be written to is told from other errors, noted, or waited for."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from openo3.training import disk

FULL = OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def limited() -> Iterator[None]:
    """No file of this process can grow beyond 1,000 bytes: real writes fail. Not around a whole test, since
    pytest may write what it reports to a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_disk_errors_are_told_from_other_errors() -> None:
    assert disk.problem_of(FULL) == "the disk is full"
    assert "No such file" in disk.problem_of(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    said = disk.problem_of(RuntimeError("basic_ios::clear: iostream error"))
    assert said.startswith("torch.save: basic_ios")
    assert disk.problem_of(RuntimeError("CUDA out of memory")) is None
    assert disk.problem_of(ValueError("")) is None


def test_every_library_that_writes_a_checkpoint_is_understood(tmp_path: Path) -> None:
    weights = {"a": torch.zeros(4000)}
    for write in (
        lambda: save_file(weights, tmp_path / "model.safetensors"),
        lambda: torch.save(weights, tmp_path / "optimizer.pt"),
        lambda: torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False),
        lambda: torch.save(weights, tmp_path / "gone/optimizer.pt"),
        lambda: (tmp_path / "state.json").write_text("x" * 2000),
    ):
        with limited(), pytest.raises(Exception) as failed:  # noqa: PT011  # of a type that differs by library
            write()
        assert disk.problem_of(failed.value)


def test_a_noted_save_goes_on_and_writes_nothing_more(tmp_path: Path) -> None:
    problems: list[str] = []
    save = torch.save
    with limited(), disk.noting_torch_save(problems):
        torch.save({"a": torch.zeros(4000)}, tmp_path / "optimizer.pt")
        assert len(problems) == 1
        torch.save({}, tmp_path / "scheduler.pt")
    assert len(problems) == 1
    assert not (tmp_path / "scheduler.pt").exists()
    assert torch.save is save


def test_other_errors_are_not_noted() -> None:
    problems: list[str] = []

    def write() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        disk.noted(write, problems)()
    assert not problems


def failing(times: int, error: OSError) -> tuple[list[int], object]:
    tried: list[int] = []

    def write() -> None:
        tried.append(1)
        if len(tried) <= times:
            raise error

    return tried, write


def test_a_trained_model_waits_for_space(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(disk, "_PAUSE_S", 0.0)
    tried, write = failing(3, FULL)
    disk.with_patience(write, "model")
    assert len(tried) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "model: the disk is full, waiting for space for 30 minutes at most"


def test_patience_ends_and_is_for_a_full_disk_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, write = failing(9, PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(PermissionError):
        disk.with_patience(write, "model")
    assert len(tried) == 1
    monkeypatch.setattr(disk, "PATIENCE_S", 0.0)
    tried, write = failing(9, FULL)
    with pytest.raises(OSError, match="No space"):
        disk.with_patience(write, "model")
    assert len(tried) == 1


def test_a_folder_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "global_step").mkdir()
    files = [tmp_path / "a", tmp_path / "global_step/b"]
    for file in files:
        file.write_bytes(b"x")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda opened: synced.append(os.fstat(opened).st_ino))
    disk.to_disk(tmp_path)
    assert sorted(synced) == sorted(file.stat().st_ino for file in files)
