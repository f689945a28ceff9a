import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages import download
from tests.support import local_folder

ROOT = Path(__file__).parents[2]


def test_a_local_folder_is_copied_to_data_raw(tmp_path):
    local_folder.write(tmp_path / "mine")
    params = download.Params(source="local", path="mine")
    assert download.run(params, tmp_path).copied == 9
    assert download.run(params, tmp_path).copied == 0
    manifest = (tmp_path / "data/raw/manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in manifest] == sorted(
        str(path.relative_to(tmp_path / "data/raw"))
        for path in (tmp_path / "data/raw").rglob("*")
        if path.is_file() and path.name not in ("manifest.jsonl", "missing.jsonl")
    )


def test_a_second_download_of_a_folder_writes_the_same_bytes(tmp_path):
    local_folder.write(tmp_path / "mine")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        download.run(download.Params("local", str(tmp_path / "mine")), tmp_path / name)
    one, two = (
        {p.relative_to(root): p.read_bytes() for p in (root / "data").rglob("*") if p.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


@pytest.mark.parametrize(
    ("block", "status", "said"),
    [
        ("{source: local, path: none}", 1, "download: none: no such folder"),
        (
            "{source: local}",
            2,
            "download: params.yaml: download.path: missing key, the folder with annotations and media",
        ),
        (
            "{source: shapes, shapes: {label_noise: {speed: 1}}}",
            2,
            "params.yaml: download.shapes.label_noise.speed: unknown key",
        ),
    ],
)
def test_the_command_fails_with_one_line(tmp_path, block, status, said):
    (tmp_path / "params.yaml").write_text(f"download: {block}")
    done = subprocess.run(
        [sys.executable, "-m", "stages.download"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, f"{said}\n")
