"""The shipped catalogue against a local hub: one profile and one command fetch exactly the files needed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openo3.annotations.catalogue.table import shipped
from openo3.configuration import ConfigurationError
from openo3.fetch.limits import Limits
from openo3.fetch.plan import FetchError
from openo3.files.artifacts import read_json, read_jsonl
from stages import download, validate
from tests.support import choice_folder, published
from tests.support.archives import contents, needs_zip, zip_archive
from tools.hub_server import HubServer, Status

pytestmark = needs_zip
ROOT = Path(__file__).parents[2]
CHOICES = ("videomme", "worldsense", "videommmu")
QUICK = Limits(threads=4, stall_s=0.5, tries=3, wait_s=0.01)
MEDIA = {
    "videos/stgr/plm/videos/sav_1.mp4",
    "videos/stgr/plm/kfs/sav_1/0.jpg",
    "videos/stgr/temporal_grounding/videos/4jujhM5qhEc_00:00:39:000_00:01:24:700.mp4",
    "videos/stgr/temporal_grounding/kfs/same.jpg",
    "videos/tvg_r1/GroundedVLLM/a@b c.mp4",
    "videos/treevgr/images/t 1.jpg",
    "videos/videor1/LLaVA-Video-178K/academic/é.mp4",
    "videos/timerft/x1.mp4",
    "videos/gqa/2354.jpg",
    "videos/videoespresso/videos/Moviechat/1.mp4",
    "videos/videoespresso/kfs/1_0.jpg",
    "videos/vstar/v 1.mp4",
    "videos/tvgbench/charades/t1.mp4",
}


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with HubServer() as server:
        server.token = "hf_secret"
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        published.publish(server, tmp_path)
        yield server


def params(**more: object) -> download.Params:
    return download.Params(
        "published", published=download.Published(**{"table": "own.yaml", **more}), limits=QUICK
    )


def metrics(root: Path) -> dict:
    return read_json(root / "metrics/validation.json")


def test_every_source_is_fetched_from_its_published_place(server, tmp_path):
    done = download.run(params(), tmp_path)
    raw = tmp_path / "data/raw"
    assert set(contents(raw / "media")) == MEDIA
    assert done.missing == 1
    [lost] = read_jsonl(raw / "missing.jsonl")
    assert (lost["path"], lost["problem"]) == (f"videos/timerft/{published.LOST}", "missing")
    assert lost["detail"].startswith("not in hf://datasets/Boshenxx/TimeR1-Dataset@")
    assert lost["detail"].endswith("/TimeRFT_data.zip")
    origins = {line["path"]: line.get("origin") for line in read_jsonl(raw / "manifest.jsonl")}
    stgr = f"hf://datasets/{published.STGR.hub}@{published.STGR.revision}"
    assert (
        origins["media/videos/stgr/plm/videos/sav_1.mp4"]
        == f"{stgr}/videos/stgr.zip#stgr/plm/videos/sav_1.mp4"
    )
    assert origins["annotations/STGR-RL.json"] == f"{stgr}/json_data/STGR-RL.json"
    assert origins["media/videos/tvg_r1/GroundedVLLM/a@b c.mp4"] is None  # a local folder
    assert "hf_secret" not in "".join(p.read_text() for p in raw.glob("*.jsonl"))


def test_unneeded_files_are_not_read(server, tmp_path):
    download.run(params(), tmp_path)
    wanted = sum(map(len, contents(tmp_path / "data/raw").values()))
    assert (
        server.sent("VideoEspresso_train_video.z01") == 0
    )  # four parts with videos that no annotation names
    assert server.sent() < wanted + 200_000  # directories, and the hub's answers


def test_a_second_run_fetches_nothing_and_keeps_the_bytes(server, tmp_path):
    download.run(params(), tmp_path)
    before = contents(tmp_path / "data")
    assert download.run(params(), tmp_path).copied == 0
    assert contents(tmp_path / "data") == before


def test_fetched_data_validates_and_coverage_lists_what_is_missing(server, tmp_path, capsys):
    download.run(params(), tmp_path)
    assert validate.run(validate.Params(max_rejected_share=0.2), tmp_path) is None
    found = metrics(tmp_path)
    assert (found["rows"], found["usable"]) == (11, 10)
    assert found["files"]["sft"]["missing"] == 1
    assert found["media"]["duplicates"] == 13 - 3  # two clips and an image, each under many names
    [(source, reasons)] = found["missing"].items()
    [(reason, counts)] = reasons.items()
    assert (source, counts) == ("timerft", {"files": 1, "example": f"videos/timerft/{published.LOST}"})
    assert reason.startswith("not in hf://datasets/Boshenxx/TimeR1-Dataset@")
    assert "continues with the 10 usable rows" in capsys.readouterr().out
    page = (tmp_path / "reports/validation/index.html").read_text()
    assert "Sources of the missing files" in page
    assert "TimeRFT_data.zip" in page


def test_plan_shows_files_bytes_and_disk_space_without_changing_anything(server, tmp_path, capsys):
    download.show_plan(params(), tmp_path)
    shown = capsys.readouterr().out
    lines = {line.split()[1]: line for line in shown.splitlines() if line.startswith("│")}
    cells = [cell.strip() for cell in lines["STR_plm_rdcap"].strip("│").split("│")]
    assert cells[1:4] == ["2", "0", "2"]
    assert cells[6] == "0"
    assert "at most" in lines["TreeVGR"]
    assert "unavailable, 1 files: not in hf://datasets/Boshenxx/TimeR1-Dataset@" in shown
    assert re.search(r"^disk: [\d.]+ MB needed, [\d.,]+ GB free$", shown, re.MULTILINE)
    assert not (tmp_path / "data").exists()


def test_an_excluded_source_is_counted_as_missing_and_never_requested(server, tmp_path):
    server.requests.clear()
    done = download.run(params(leave_out=("videoespresso_train_video", "TreeVGR")), tmp_path)
    assert done.missing == 4
    assert not [r for r in server.requests if "VideoEspresso" in r.path or "TreeVGR" in r.path]
    details = {line["detail"] for line in read_jsonl(tmp_path / "data/raw/missing.jsonl")}
    assert "left out (leave_out)" in details


def test_a_custom_source_is_fetched_and_validated(server, tmp_path):
    rows = [
        published.video_row("mine", "my_clips", "deep/a.mp4"),
        published.video_row("no", "nobody", "a.mp4"),
    ]
    server.put("mine.json", json.dumps(rows).encode())
    server.put("clips/deep/a.mp4", (tmp_path / "clip.mp4").read_bytes())
    (tmp_path / "own.yaml").write_text(f"""
catalogue:
  annotations: {{sft: {{place: {{url: "{server.url}", path: mine.json}}}}}}
  sources: {{my_*: {{videos: mine, media: [{{url: "{server.url}/clips"}}]}}}}
""")
    assert download.run(params(annotations=("sft",)), tmp_path).files == 3  # and the table itself
    validate.run(validate.Params(max_rejected_share=1.0), tmp_path)
    [row] = read_jsonl(tmp_path / "data/validated/sft.jsonl")
    assert (row["id"], row["media"]) == ("mine", "mine/deep/a.mp4")
    assert read_json(tmp_path / "metrics/validation.json")["reasons"] == {"unknown source": 1}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"annotations": ("sfd",)}, "sfd: no such annotation in the catalogue; there are sft, rl"),
        (
            {"annotations": ("tvgbench",), "table": None},
            "tvgbench: its place is not known; give it in a table",
        ),
        ({"leave_out": ("STR_coin",)}, r"STR_coin: no such source in the catalogue; there are gqa, TVG_\*"),
    ],
)
def test_impossible_parameters_fail_with_one_line(server, tmp_path, more, message):
    with pytest.raises((FetchError, ConfigurationError), match=message):
        download.run(params(**more), tmp_path)


def test_denied_access_leaves_no_partial_download(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(FetchError, match="log in with `hf auth login` or set HF_TOKEN"):
        download.run(params(), tmp_path)
    assert not (tmp_path / "data/raw/manifest.jsonl").exists()


def test_a_temporarily_busy_hub_is_retried(server, tmp_path):
    busy = Status(429, {"Retry-After": "0"})
    server.spoil(f"/api/datasets/{published.STGR.hub}/revision/{published.STGR.revision}", busy, busy)
    assert download.run(params(annotations=("sft",)), tmp_path).missing == 1


def test_hostile_paths_in_annotations_are_not_followed(server, tmp_path):
    good = published.SFT[0]
    rows = [good | {"id": str(n), "video_path": path} for n, path in enumerate(HOSTILE)]
    rows += [5, None, {}, good | {"id": "nan", "key_frames": [{"idx": 1, "time": float("nan"), "path": 5}]}]
    rows += [good | {"id": "long", "video_path": "x" * 10_000_000}, good | {"id": "types", "task": ["a"]}]
    server.put("hostile.json", json.dumps([*rows, good, good]).encode())
    (tmp_path / "own.yaml").write_text(
        f'catalogue: {{annotations: {{sft: {{place: {{url: "{server.url}", path: hostile.json}}}}}}}}'
    )
    done = download.run(params(annotations=("sft",)), tmp_path)
    assert set(contents(tmp_path / "data/raw/media")) == {path for path in MEDIA if "/plm/" in path}
    assert done.missing == 0
    validate.run(validate.Params(max_rejected_share=1.0), tmp_path)
    reasons = read_json(tmp_path / "metrics/validation.json")["reasons"]
    assert reasons == {
        "path leaves its root": 5,
        "not valid text": 1,
        "row is not an object": 2,
        "field missing": 1,
        "number not finite": 1,
        "text too long": 1,
        "wrong type": 1,
        "duplicate id": 1,
    }


HOSTILE = ("../../etc/passwd", "/etc/passwd", "a/../../b.mp4", "a\\b.mp4", "a\0b.mp4", "x" * 300 + ".mp4")


def test_truncated_annotations_fail_with_one_line(server, tmp_path):
    server.put("cut.json", json.dumps(published.SFT).encode()[:900])
    (tmp_path / "own.yaml").write_text(
        f'catalogue: {{annotations: {{sft: {{place: {{url: "{server.url}", path: cut.json}}}}}}}}'
    )
    done = command(tmp_path, "annotations: [sft], table: own.yaml")
    assert done.returncode == 2
    assert done.stderr.endswith("STGR-SFT.json: row 1, byte 900: the file is cut off\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data/raw").exists()


def test_the_command_prints_no_secret(server, tmp_path):
    done = command(tmp_path, "table: own.yaml", "--plan")
    assert done.returncode == 0, done.stderr
    again = command(tmp_path, "table: own.yaml")
    assert again.stdout.startswith("download: 18 files, 18 of them new or changed"), again.stdout
    assert "hf_secret" not in done.stdout + done.stderr + again.stdout + again.stderr
    assert "Signature" not in done.stdout + done.stderr + again.stdout + again.stderr


def command(folder: Path, settings: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "params.yaml").write_text(f"download: {{source: published, published: {{{settings}}}}}")
    return subprocess.run(
        [sys.executable, "-m", "stages.download", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_multiple_choice_benchmarks_are_fetched_from_their_published_places(server, tmp_path):
    folder = choice_folder.write(tmp_path / "choices")
    places = {name: shipped().annotations[name].place for name in CHOICES}
    videos = {
        name: zip_archive(folder, name, {f"any/{p.name}": p.read_bytes() for p in (folder / name).iterdir()})
        for name in CHOICES
    }
    annotations = {
        "videomme": [folder / "Video-MME.parquet"],
        "worldsense": [folder / "worldsense_qa.json"],
        "videommmu": [folder / f"VideoMMMU/{path.replace('/', '-')}" for path in places["videommmu"].paths],
    }
    for name, place in places.items():
        files = {path: p.read_bytes() for path, p in zip(place.paths, annotations[name], strict=True)}
        archive = "videos_chunked_01.zip" if name == "videomme" else "one.zip"
        server.dataset(place.hub, files | {archive: videos[name][0]}, place.revision)
    done = download.run(params(annotations=CHOICES), tmp_path)
    raw = tmp_path / "data/raw"
    assert done.missing == 0
    assert set(contents(raw / "media")) == {
        *("videos/videomme/m-1_x.mp4", "videos/worldsense/w1.mp4"),
        *(f"videos/videommmu/validation_Art_{n}.mp4" for n in (1, 2, 3)),
    }
    assert validate.run(validate.Params(max_rejected_share=0.0), tmp_path) is None
    usable = {name: counts["usable"] for name, counts in metrics(tmp_path)["files"].items()}
    assert usable == {"videomme": 1, "worldsense": 2, "videommmu": 5}
    [record] = read_json(tmp_path / "data/validated/bench/videomme.json")
    assert (record["duration_s"], record["options"][0]) == (4.0, "A fridge.")


@pytest.mark.parametrize("kind", ["parquet", "tsv", "keys"])
def test_media_of_benchmarks_without_a_reader_are_fetched(server, tmp_path, kind):
    import pandas as pd

    names = pd.DataFrame({"videoID": ["v 1", "gone"], "question": ["a", "b"]})
    path = tmp_path / f"q.{'json' if kind == 'keys' else kind}"
    {
        "parquet": names.to_parquet,
        "tsv": lambda to: names.to_csv(to, sep="\t", index=False),
        "keys": lambda to: to.write_text(json.dumps({name: {} for name in names["videoID"]})),
    }[kind](path)
    server.put(path.name, path)
    column = "null" if kind == "keys" else "videoID"
    (tmp_path / "own.yaml").write_text(f"""
catalogue:
  annotations:
    more:
      {{place: {{url: "{server.url}", path: {path.name}}}, source: videomme, column: {column}, suffix: .mp4}}
""")
    archive = {
        "videos_chunked_01.zip": server.files[next(p for p in server.files if p.endswith("vstar_videos.zip"))]
    }
    server.dataset("lmms-lab/Video-MME", archive)
    done = download.run(params(annotations=("more",)), tmp_path)
    assert set(contents(tmp_path / "data/raw/media")) == {"videos/videomme/v 1.mp4"}
    assert (tmp_path / f"data/raw/annotations/more/{path.name}").read_bytes() == path.read_bytes()
    assert done.missing == 1


def test_an_unreachable_place_keeps_the_files_already_fetched(server, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes())
    server.put("mine.json", json.dumps([published.video_row("mine", "my_clips", "a.mp4")]).encode())
    (tmp_path / "own.yaml").write_text(f"""
catalogue:
  annotations: {{sft: {{place: {{url: "{server.url}", path: mine.json}}}}}}
  sources: {{my_clips: {{videos: mine, media: [{{folder: "{clips}"}}]}}}}
""")
    download.run(params(annotations=("sft",)), tmp_path)
    before = contents(tmp_path / "data/raw")
    clips.rename(tmp_path / "unmounted")
    with pytest.raises(FetchError, match=r"clips: no such folder; 1 files of this folder came from there"):
        download.run(params(annotations=("sft",)), tmp_path)
    assert contents(tmp_path / "data/raw") == before
    dropped = download.run(params(annotations=("sft",), leave_out=("my_clips",)), tmp_path)
    assert (dropped.removed, dropped.missing) == (1, 1)


def test_a_locally_damaged_file_is_fetched_again(server, tmp_path):
    download.run(params(), tmp_path)
    before = contents(tmp_path / "data/raw")
    victim = tmp_path / "data/raw/media/videos/timerft/x1.mp4"
    with victim.open("r+b") as file:
        file.seek(100)
        file.write(b"damaged!")
    assert download.run(params(), tmp_path).copied == 1
    assert contents(tmp_path / "data/raw") == before


def test_files_with_only_a_new_mtime_are_read_once_and_not_fetched(server, tmp_path):
    download.run(params(), tmp_path)
    for path in (tmp_path / "data/raw/media").rglob("*.mp4"):
        os.utime(path, (1, 1))
    assert download.run(params(), tmp_path).copied == 0
    known = (tmp_path / ".cache/openo3").glob("digests*.jsonl")
    learned = [line for file in known for line in read_jsonl(file) if line["mtime_ns"] == 10**9]
    assert len(learned) > 5
