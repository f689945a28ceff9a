"""Stage `sample_frames` on a small repository: three stores, merged key frames, rejections, counts."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from openo3.core.schema import KeyFrame, Sample, Task
from openo3.files.artifacts import read_json, read_jsonl, write_json, write_jsonl
from openo3.media.frame_store import FrameStore
from stages import download, validate
from stages.sample_frames import FrameSampling, Params, main, run
from tests.support import choice_folder
from tests.support.checkout import ROOT
from tests.support.clips import clip, number, numbered

PARAMS = Params(
    train=FrameSampling(fps=2.0, min_frames=4, max_frames=16),
    vstar=FrameSampling(fps=1.0, min_frames=2, max_frames=16),
    tvgbench=FrameSampling(fps=2.0, min_frames=4, max_frames=8),
    max_pixels=4096,
    side_multiple=16,
    shards=2,
    workers=2,
    time_limit_s=20.0,
    max_rejected_share=0.4,
)
STREET = "videos/local/videos/4jujhM5qhEc_00:00:39:000 @ street.mp4"


def sample(media: str, task: Task = Task.TEMPORAL_SPATIAL, *keys: KeyFrame) -> dict:
    return Sample(f"{media}-{len(keys)}", task, "local", "What?", "that", media, key_frames=keys).to_json()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three good clips and an image, one clip of random bytes, and one missing clip."""
    media = tmp_path / "data/raw/media"
    for name in (STREET, "videos/vstar/b.mp4", "videos/tvgbench/x/c.mp4"):
        (media / name).parent.mkdir(parents=True, exist_ok=True)
        clip(media / name, 60, 15)
    (media / "videos/local/kfs").mkdir()
    Image.fromarray(next(numbered(1, 200))).save(media / "videos/local/kfs/k 1.jpg")
    Image.new("RGB", (64, 48)).save(media / "videos/local/still.png")
    (media / "videos/local/videos/noise.mp4").write_bytes(b"noise" * 999)
    write_manifest(tmp_path)
    jpeg = "videos/local/kfs/k 1.jpg"
    sft = [
        sample(STREET, Task.TEMPORAL_SPATIAL, KeyFrame(1, 0.5), KeyFrame(2, 1.2, jpeg)),
        sample("videos/local/still.png", Task.VISUAL, KeyFrame(1, 0.0)),
        sample("videos/local/videos/noise.mp4", Task.MCQ),
    ]
    rl = [sample(STREET, Task.TEMPORAL_SPATIAL, KeyFrame(1, 0.5), KeyFrame(2, 3.0))]
    write_jsonl(tmp_path / "data/validated/sft.jsonl", sft)
    write_jsonl(tmp_path / "data/validated/rl.jsonl", rl)
    for name, path in (("vstar", "videos/vstar/b.mp4"), ("tvgbench", "videos/tvgbench/x/c.mp4")):
        record = {"media": path, "duration_s": 4.0, "question": "?"}
        write_json(tmp_path / f"data/validated/bench/{name}.json", [record, record])
    return tmp_path


def write_manifest(root: Path) -> None:
    raw = root / "data/raw"
    files = sorted(file for file in (raw / "media").rglob("*") if file.is_file())
    lines = [
        {"path": str(f.relative_to(raw)), "sha256": hashlib.sha256(f.read_bytes()).hexdigest()} for f in files
    ]
    write_jsonl(raw / "manifest.jsonl", lines)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(root)): f.read_bytes() for f in (root / "data/frames").rglob("*") if f.is_file()
    }


def test_three_stores_are_written(root: Path):
    run(PARAMS, root)
    train = FrameStore.open(root / "data/frames/train")
    assert train.sizes == {STREET: (64, 48), "videos/local/still.png": (64, 48)}
    frames = train.frames(STREET, [0.5, 1.2, 3.0])
    assert len(frames) == 8 + 3
    keys = [(frame.time_s, number(frame.image)) for frame in frames if frame.key]
    assert keys == [(0.466667, 7), (1.2, 200), (3.0, 45)], (
        "decoded, shipped as JPEG, asked for by the other file"
    )
    assert [frame.key for frame in train.frames("videos/local/still.png")] == [False]
    assert len(FrameStore.open(root / "data/frames/vstar").frames("videos/vstar/b.mp4")) == 4
    assert len(FrameStore.open(root / "data/frames/tvgbench").frames("videos/tvgbench/x/c.mp4")) == 8


def test_a_benchmark_of_long_videos_gets_more_and_larger_frames(root: Path):
    path = "videos/videomme/long.mp4"
    (root / "data/raw/media/videos/videomme").mkdir()
    clip(root / "data/raw/media" / path, 60 * 40, 15)
    write_manifest(root)
    write_json(root / "data/validated/bench/videomme.json", [{"media": path}])
    run(replace(PARAMS, max_pixels=1024), root)
    store = FrameStore.open(root / "data/frames/videomme")
    frames = store.frames(path)
    assert store.sizes[path] == (64, 48)
    assert set(FrameStore.open(root / "data/frames/vstar").sizes.values()) == {(32, 16)}
    assert len(frames) == 64
    assert (frames[0].time_s, frames[-1].time_s) == (0.0, pytest.approx(159.933, abs=1e-3))
    assert len(FrameStore.open(root / "data/frames/worldsense")) == 0
    assert "worldsense" not in read_json(root / "metrics/frames.json")


def test_rejections_and_counts_are_written(root: Path):
    run(PARAMS, root)
    (rejected,) = read_jsonl(root / "data/frames/rejected.jsonl")
    assert rejected["store"] == "train"
    assert rejected["media"] == "videos/local/videos/noise.mp4"
    assert (rejected["reason"], rejected["records"]) == ("unreadable", 1)
    page = (root / "reports/frames/index.html").read_text()
    assert "1 passed the" in page
    assert "which costs 1 of its usable records" in page
    assert "videos/local/videos/noise.mp4</code>" in page
    assert "Convert the file" in page, "the next step"
    assert "Stopped" not in page
    counts = read_json(root / "metrics/frames.json")
    assert set(counts) == {"train", "vstar", "tvgbench"}
    train = counts["train"]
    assert (train["media"], train["frames"], train["key_frames"]) == (2, 8 + 3 + 1, 3)
    assert (train["rejected"], train["rejected_by_reason"]) == (1, {"unreadable": 1})
    assert train["bytes"] == sum(f.stat().st_size for f in (root / "data/frames/train").glob("*.parquet"))


def test_a_changed_video_rewrites_one_shard(root: Path):
    run(PARAMS, root)
    before = files(root)
    clip(root / "data/raw/media/videos/vstar/b.mp4", 60, 15, first=100)
    write_manifest(root)
    run(PARAMS, root)
    after = files(root)
    changed = {name for name in before if after[name] != before[name]}
    assert before.keys() == after.keys()
    assert {Path(name).parent.name for name in changed} == {"vstar"}
    frames = FrameStore.open(root / "data/frames/vstar").frames("videos/vstar/b.mp4")
    assert [number(frame.image) for frame in frames] == [100, 119, 139, 159]
    assert read_json(root / "metrics/frames.json")["vstar"]["sampled"] == 1


def test_a_killed_run_ends_with_the_same_bytes(root: Path):
    text = f"""
sample_frames:
  train: {{fps: 2, min_frames: 4, max_frames: 16}}
  vstar: {{fps: 1, min_frames: 2, max_frames: 16}}
  tvgbench: {{fps: 2, min_frames: 4, max_frames: 8}}
  max_pixels: {PARAMS.max_pixels}
  side_multiple: 16
  shards: 2
  max_rejected_share: 0.4
"""
    (root / "params.yaml").write_text(text)
    command = [sys.executable, "-m", "stages.sample_frames"]
    options = {"cwd": root, "env": {**os.environ, "PYTHONPATH": os.getcwd()}}
    killed = subprocess.Popen(command, **options, stderr=subprocess.DEVNULL)
    while not (root / "data/frames/train").exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    subprocess.run(command, **options, check=True, stderr=subprocess.DEVNULL)
    found = files(root)
    for name in list(found):
        (root / name).unlink()
    run(PARAMS, root)
    assert files(root) == found


def test_media_without_a_digest_is_named_in_the_error(root: Path):
    (root / "data/raw/manifest.jsonl").write_text("")
    with pytest.raises(SystemExit, match=r"k 1\.jpg: not in data/raw/manifest\.jsonl"):
        run(PARAMS, root)


def test_an_unknown_executor_fails_with_one_line(root: Path, monkeypatch):
    text = (ROOT / "profiles/smoke.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("sample_frames:\n", "sample_frames:\n  executor: spark\n"))
    monkeypatch.chdir(root)
    with pytest.raises(
        SystemExit, match=r"^sample_frames: executor 'spark': neither local nor dask://host:port$"
    ):
        main()


def test_too_many_rejected_media_fail_the_stage_after_the_list_is_written(root: Path):
    expected = (
        r"^sample_frames: 1 of 3 media files of train gave no frames, the first: .*noise\.mp4: unreadable"
    )
    with pytest.raises(SystemExit, match=expected) as stop:
        run(replace(PARAMS, max_rejected_share=0.3), root)
    assert "reports/frames/index.html" in str(stop.value)
    assert "raise sample_frames.max_rejected_share" in str(stop.value)
    page = (root / "reports/frames/index.html").read_text()
    assert "Stopped: more than 30.0 % of the media of train" in page
    assert len(list(read_jsonl(root / "data/frames/rejected.jsonl"))) == 1


def test_a_machine_too_slow_for_any_clip_fails_with_one_line_and_rejects_no_media(root: Path, monkeypatch):
    text = (ROOT / "profiles/smoke.yaml").read_text()
    (root / "params.yaml").write_text(
        text.replace("sample_frames:\n", "sample_frames:\n  time_limit_s: 1.0e-4\n")
    )
    monkeypatch.chdir(root)
    with pytest.raises(SystemExit, match=r"^sample_frames: .*: the decoder fails on a clip made for"):
        main()
    assert not (root / "data/frames/rejected.jsonl").exists()


def test_missing_training_files_give_an_empty_store(root: Path, capsys):
    (root / "data/validated/sft.jsonl").unlink()
    (root / "data/validated/rl.jsonl").unlink()
    run(PARAMS, root)
    assert len(FrameStore.open(root / "data/frames/train")) == 0
    assert len(FrameStore.open(root / "data/frames/vstar")) == 1
    assert "no training record" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_pixels: 0", "max_pixels must be at least 256, got 0"),
        ("side_multiple: 0", "side_multiple must be at least 1, got 0"),
        ("shards: 0", "shards must be at least 1, got 0"),
        ("jpeg_quality: 1000", "jpeg_quality must be at most 100, got 1000"),
        ("workers: -1", "workers must be at least 0, got -1"),
        ("time_limit_s: 0", "time_limit_s must be greater than 0, got 0"),
        ("max_rejected_share: 5", "max_rejected_share must be at most 1, got 5"),
        ("train: {fps: -1, min_frames: 1, max_frames: 2}", "train.fps must be greater than 0, got -1"),
        ("train: {fps: 1, min_frames: 3, max_frames: 2}", "train.max_frames must be at least 3, got 2"),
        ("train: {fps: 1, min_frames: 0, max_frames: 2}", "train.min_frames must be at least 1, got 0"),
    ],
)
def test_invalid_parameters_fail_with_one_line_before_any_work(
    root: Path, monkeypatch, capsys, line, message
):
    even = "{fps: 1, min_frames: 2, max_frames: 4}"
    lines = {
        "train": even,
        "vstar": even,
        "tvgbench": even,
        "max_pixels": 4096,
        "side_multiple": 16,
        "shards": 2,
    }
    key, _, value = line.partition(": ")
    text = "\n".join(f"  {name}: {value}" for name, value in ({**lines, key: value}).items())
    (root / "params.yaml").write_text(f"sample_frames:\n{text}\n")
    monkeypatch.chdir(root)
    with pytest.raises(SystemExit):
        main()
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("params.yaml: sample_frames")
    assert error.count("\n") == 1
    assert not (root / "data/frames").exists()


def test_no_frames_at_all_is_an_error(root: Path):
    for file in (root / "data/raw/media").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    write_manifest(root)
    with pytest.raises(SystemExit, match=r"^sample_frames: 3 of 3 media files of train gave no frames"):
        run(PARAMS, root)
    assert len(list(read_jsonl(root / "data/frames/rejected.jsonl"))) == 5


@pytest.mark.slow
def test_pictures_of_questions_are_rows_beside_the_videos(tmp_path):
    own = choice_folder.write(tmp_path / "own")
    download.run(download.Params(source="local", path=str(own)), tmp_path)
    validate.run(validate.Params(max_rejected_share=0.0), tmp_path)
    for name in ("sft", "rl"):
        (tmp_path / f"data/validated/{name}.jsonl").touch()
    run(PARAMS, tmp_path)
    store = FrameStore.open(tmp_path / "data/frames/videommmu")
    [frame] = store.frames("pictures/videommmu/Adaptation/validation_Art_1")
    assert (frame.image.size, store.duration_s("pictures/videommmu/Adaptation/validation_Art_2")) == (
        (48, 32),
        None,
    )
    assert frame.image.getpixel((20, 16))[0] > 180
    index = (tmp_path / "data/frames/videommmu/index.json").read_bytes()
    run(PARAMS, tmp_path)
    assert read_json(tmp_path / "metrics/frames.json")["videommmu"]["sampled"] == 0
    assert (tmp_path / "data/frames/videommmu/index.json").read_bytes() == index


def test_damage_that_only_decoding_shows_is_on_the_page_with_its_records_and_a_picture(root: Path):
    """Zeroed bytes in the middle pass `validate`, as do a copy-protected and a cut file of other kinds."""
    street = root / "data/raw/media" / STREET
    content = bytearray(street.read_bytes())
    middle = (content.index(b"mdat") + content.index(b"moov")) // 2
    content[middle : middle + 400] = bytes(400)
    street.write_bytes(content)
    write_manifest(root)
    run(replace(PARAMS, max_rejected_share=0.9), root)
    rejected = {line["media"]: line for line in read_jsonl(root / "data/frames/rejected.jsonl")}
    assert (rejected[STREET]["reason"], rejected[STREET]["records"]) == ("damaged", 2)
    page = (root / "reports/frames/index.html").read_text()
    assert "which costs 3 of its usable records" in page
    assert page.index(STREET) < page.index("noise.mp4"), "what costs the most comes first"
    assert page.count("data:image/jpeg;base64,") == 1, "the first frame of the damaged clip"
    assert "Copy or download the file again." in page
