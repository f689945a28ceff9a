"""Data for a rehearsal: taken by media from what is there, or made in the layout of the source `local`."""

import json
from collections import Counter
from pathlib import Path

import pytest

from openo3.annotations import stgr
from openo3.core.schema import Sample, Task
from openo3.files.artifacts import read_jsonl, write_json, write_jsonl
from openo3.media.probe import probe
from openo3.rehearsal import data
from openo3.rehearsal.data import World


def sample(number: int, media: str, **fields: object) -> dict:
    known = {
        "id": f"s{number}",
        "task": Task.TEMPORAL,
        "source": "shapes",
        "question": "When?",
        "answer": "now",
    }
    return Sample(**{**known, "media": media, "duration_s": 4.0, **fields}).to_json()


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A checkout with ten videos of three records each, and an index of frames."""
    root = tmp_path / "root"
    rows = [sample(number, f"v{number // 3}.mp4", reasoning="it is") for number in range(30)]
    for name in data.STAGES:
        write_jsonl(root / f"data/validated/{name}.jsonl", rows)
    write_json(root / "data/validated/bench/vstar.json", [{"media": "b.mp4"}] * 5)
    policy = {"fps": 2.0, "min_frames": 4, "max_frames": 8, "max_pixels": 12288, "multiple": 32}
    write_json(root / "data/frames/train/index.json", {"policy": policy, "media": {}})
    return root


def test_only_frames_of_the_same_sampling_are_taken(finished: Path) -> None:
    sampling = {"train": {"fps": 2.0, "min_frames": 4, "max_frames": 8}, "max_pixels": 12288}
    assert data.is_there(finished, {**sampling, "side_multiple": 32})
    assert not data.is_there(finished, {**sampling, "side_multiple": 28})
    assert not data.is_there(finished / "elsewhere", {**sampling, "side_multiple": 32})


def test_media_are_taken_with_all_their_records_and_nothing_there_is_written(
    finished: Path, tmp_path: Path
) -> None:
    before = sorted(path.stat().st_mtime_ns for path in finished.rglob("*"))
    data.take(finished, tmp_path / "own", {"sft": 7, "rl": 1})
    taken = Counter(row["media"] for row in read_jsonl(tmp_path / "own/data/validated/sft.jsonl"))
    assert list(taken.values()) == [3, 3, 3]
    assert len(list(read_jsonl(tmp_path / "own/data/validated/rl.jsonl"))) == 3
    assert data.benchmark_records(tmp_path / "own/data/validated") == {"vstar": 5}
    assert (tmp_path / "own/data/frames/train/index.json").exists()
    assert sorted(path.stat().st_mtime_ns for path in finished.rglob("*")) == before


def test_packs_are_records_of_the_same_frames() -> None:
    keys = [{"idx": 1, "time_s": 1.0, "path": None}]
    items = {"1": {"circle": [[0.1, 0.1, 0.2, 0.2]]}}
    grounded = sample(9, "b.mp4") | {
        "task": str(Task.TEMPORAL_SPATIAL), "key_frames": keys, "key_items": items,
    }  # fmt: skip
    rows = [*(sample(number, "a.mp4") for number in range(5)), sample(8, "b.mp4"), grounded]
    assert data.groups(rows, most=4, direct=False) == 2 + 1 + 1
    assert data.groups(rows, most=1, direct=False) == 7
    assert data.groups(rows, most=1, direct=True) == 8
    assert data.groups(rows, most=4, direct=True) == 4  # asked with the other record of the even frames
    assert data.asked_where(rows) == 1


def test_reasoning_is_as_long_as_a_published_one(tmp_path: Path) -> None:
    path = tmp_path / "sft.jsonl"
    text = "The <obj>red circle</obj><box>[0.1,0.2,0.3,0.4]</box>at<t>2.5</t>s is left."
    write_jsonl(path, [sample(0, "a.mp4", reasoning=text), sample(1, "a.mp4")])
    data.lengthen(path, words=500)
    long, without = read_jsonl(path)
    assert abs(data._pieces(long["reasoning"]) - 500) < data._pieces(text)
    assert without["reasoning"] is None


def test_a_world_has_the_published_size_and_the_layout_of_the_source_local(tmp_path: Path) -> None:
    data.make_world(tmp_path, World(videos=2, pictures=2, benchmark_videos=1))
    for name in ("STGR-SFT.json", "STGR-RL.json"):
        rows = [stgr.parse(row) for row in json.loads((tmp_path / name).read_text())]
        assert sum(row.is_image for row in rows) == 1
        assert len(rows) == 3
    for path in [*tmp_path.glob("videos/*.mp4"), *tmp_path.glob("vstar/*.mp4")]:
        assert probe(path).size == data.PUBLISHED_SIZE
    assert {path.parent.name for path in tmp_path.rglob("*.mp4")} == {"videos", "vstar", "tvgbench"}
