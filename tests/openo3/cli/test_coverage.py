import json
import subprocess
import sys

import pytest

from openo3.cli import main as cli

COUNTS = {"rows": 670, "readable": 668, "media": 600, "key_frames": 640, "usable": 555}
LACKING = {"files": 2904, "example": "videos/tvg_r1/a.mp4"}
METRICS = {
    "files": {"sft": {"rows": 670, "usable": 555, "rejected": 115, "missing": 68, "rejected_share": 0.1716}},
    "sources": {"sft": {"STR_coin": {"temporal QA": COUNTS}, "[red]x[/red]": {"y": COUNTS}}},
    "missing": {"TVG_*": {"no single place: give the folder": LACKING}},
}


def test_every_source_and_task_is_listed_with_what_is_missing(tmp_path):
    path = tmp_path / "validation.json"
    path.write_text(json.dumps(METRICS))
    command = [sys.executable, "-m", "openo3.cli", "coverage", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "sft: 82.8% usable" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if "STR_coin" in line]
    assert [part.strip() for part in line.strip("│ ").split("│")][2:] == ["670", "668", "600", "640", "555"]
    assert "[red]x[/red]" in done.stdout
    for part in ("TVG_*", "2,904", "no single place", "videos/tvg_r1/a.mp4"):
        assert part in done.stdout


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"sources": {"sft": 3}, "missing": {}}', '{"files": 1}']
)
def test_an_invalid_metrics_file_fails_with_one_line(tmp_path, capsys, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    assert cli.main(["coverage", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"openo3: {path}: not the metrics of validate")
    assert err.count("\n") == 1


def test_missing_metrics_fail_with_one_line(tmp_path, capsys):
    assert cli.main(["coverage", str(tmp_path / "none.json")]) == 2
    reason = "No such file or directory; `dvc repro validate` writes it"
    assert capsys.readouterr().err == f"openo3: {tmp_path}/none.json: {reason}\n"
