import json
from pathlib import Path

from openo3.files.artifacts import write_jsonl
from openo3.validation import coverage
from openo3.validation.check import check
from openo3.validation.media import read_index
from tests.support import local_folder


def test_rows_are_counted_by_file_source_task_and_reason(tmp_path: Path):
    folder = local_folder.write(tmp_path / "mine")
    good = local_folder.sft_rows()
    lost = good[0] | {"id": "lost", "video_path": "gone.mp4"}
    local_folder.annotate(
        folder, "STGR-SFT.json", [*good, lost, lost | {"id": "x", "source": "<b>", "task": "y"}, 5]
    )
    (tmp_path / "media/videos/local").mkdir(parents=True)
    for name in ("videos", "kfs", "images"):
        (folder / name).rename(tmp_path / "media/videos/local" / name)
    (folder / "spool").mkdir()
    for name in ("STGR-RL.json", "V_STaR_test.json", "TVGBench.json"):
        (folder / name).unlink()
    validation = check(folder, read_index(tmp_path, tmp_path / "known"), folder / "spool", 0.5)
    metrics = validation.metrics()
    counts = {"rows": 8, "usable": 5, "rejected": 3, "missing": 1, "rejected_share": 0.375}
    assert metrics["files"] == {"sft": counts}
    assert {name: metrics[name] for name in counts} == counts
    assert metrics["reasons"] == {"media missing": 1, "unknown task": 1, "row is not an object": 1}
    assert metrics["media"] == {"files": 4, "unsafe": 0, "missing": 1, "unreadable": 0, "duplicates": 0}
    assert metrics["sources"]["sft"]["local"]["temporal-spatial free-form QA"] == {
        "rows": 2,
        "readable": 2,
        "media": 1,
        "key_frames": 2,
        "usable": 1,
    }
    unknown = {"rows": 2, "readable": 0, "media": 0, "key_frames": 0, "usable": 0}
    assert metrics["sources"]["sft"]["unknown"] == {"unknown": unknown}
    json.dumps(metrics)
    assert coverage.too_many(metrics, 0.375) == []
    assert coverage.too_many(metrics, 0.37) == ["sft"]
    assert coverage.too_many(metrics, 0.25, 0.125) == []
    assert coverage.too_many(metrics, 0.24, 0.125) == ["sft"]
    assert coverage.too_many(metrics, 0.25, 0.12) == ["sft"]
    summary = "sft: 5 of 8 rows usable, 37.5 % rejected, 1 of them because their media are unavailable"
    assert summary in coverage.summary(metrics)


def test_an_empty_file_has_a_rejected_share_of_zero():
    shares = {"rows": 0, "usable": 0, "rejected": 0, "missing": 0, "rejected_share": 0.0}
    assert coverage.shares(0, 0) == shares
    assert coverage.too_many({"files": {"sft": shares}}, 0.0, 0.0) == []


def test_missing_files_are_counted_by_source_and_reason(tmp_path: Path):
    lines = [
        {"path": f"videos/a/{n}.mp4", "source": "a", "problem": "missing", "detail": f"not in {n % 2}.zip"}
        for n in range(5)
    ]
    write_jsonl(tmp_path / "missing.jsonl", lines)
    assert coverage.missing_files(tmp_path) == {
        "a": {
            "not in 0.zip": {"files": 3, "example": "videos/a/0.mp4"},
            "not in 1.zip": {"files": 2, "example": "videos/a/1.mp4"},
        }
    }
    assert coverage.missing_files(tmp_path / "elsewhere") == {}
