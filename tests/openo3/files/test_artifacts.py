"""An artifact is written whole or not at all."""

import os

import pytest

from openo3.files.artifacts import (
    atomic_directory,
    atomic_file,
    read_csv,
    read_json,
    read_jsonl,
    write_csv,
    write_json,
    write_jsonl,
)


def test_written_values_are_read_back(tmp_path) -> None:
    rows = [{"id": "ä:@ 1", "box": [0.1, 0.2]}, {"id": "2", "box": None}]
    write_jsonl(tmp_path / "new/rows.jsonl", rows)
    assert list(read_jsonl(tmp_path / "new/rows.jsonl")) == rows
    write_json(tmp_path / "value.json", {"rows": rows, "loss": float("nan")})
    assert read_json(tmp_path / "value.json") == {"rows": rows, "loss": None}
    points = [{"step": 1, "loss": 0.5}, {"step": 2, "kl": None}]
    write_csv(tmp_path / "plot.csv", points, ["step", "loss", "kl"])
    assert (tmp_path / "plot.csv").read_text() == "step,loss,kl\n1,0.5,\n2,,\n"
    assert read_csv(tmp_path / "plot.csv")[1] == {"step": "2", "loss": "", "kl": ""}


def test_a_failing_writer_keeps_the_previous_artifact(tmp_path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [1])

    def rows():
        yield 2
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_jsonl(tmp_path / "rows.jsonl", rows())
    assert list(read_jsonl(tmp_path / "rows.jsonl")) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_leftovers_of_a_killed_writer_are_replaced(tmp_path) -> None:
    (tmp_path / ".rows.jsonl.part").write_text("half")
    (tmp_path / ".store.part").mkdir()
    (tmp_path / ".store.part/half").write_text("half")
    with atomic_file(tmp_path / "rows.jsonl") as part:
        part.write_text("whole")
    with atomic_directory(tmp_path / "store") as part:
        (part / "whole").write_text("whole")
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["whole"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.jsonl", "store"]


def test_a_directory_is_replaced_as_a_whole_or_not_at_all(tmp_path) -> None:
    with atomic_directory(tmp_path / "store") as part:
        (part / "old").touch()

    def fail() -> None:
        with atomic_directory(tmp_path / "store") as part:
            (part / "new").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["old"]
    with atomic_directory(tmp_path / "store") as part:
        (part / "new").touch()
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["new"]


@pytest.mark.parametrize("write", [write_json, write_jsonl])
def test_json_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch, write) -> None:
    steps = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        fsync(descriptor)
        steps.append(("fsync", os.fstat(descriptor).st_size))

    monkeypatch.setattr("os.fsync", recorded_fsync)
    monkeypatch.setattr("os.replace", lambda *paths: steps.append(("rename", paths[1])) or replace(*paths))
    write(tmp_path / "notes", [1, 2, 3])
    size = (tmp_path / "notes").stat().st_size
    assert steps == [("fsync", size), ("rename", tmp_path / "notes")]
