"""A world as a folder: reproducible, incremental, resumable after a kill, and valid."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import decord
import numpy as np
import pytest
from PIL import Image

from openo3 import shapes
from openo3.files.artifacts import read_json
from openo3.shapes import benchmarks
from openo3.shapes.clips import Clip
from openo3.shapes.questions import FAMILIES
from openo3.shapes.scene import COLOURS
from stages import download, validate
from tests.openo3.shapes.descriptions import ORDER, SIDE, description, fitting, unfolded

SMALL = shapes.ShapesConfig(videos=14, images=12, benchmark_videos=4, seed=2)
FEW = shapes.ShapesConfig(videos=4, images=2, benchmark_videos=2, seed=2)
TINY = shapes.ShapesConfig(videos=1, images=2, benchmark_videos=2, seed=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "world"
    shapes.generate(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "few"
    shapes.generate(folder, FEW)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_importing_shapes_loads_no_heavy_library():
    code = "import sys; from openo3 import shapes; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_same_parameters_give_the_same_bytes(world: Path, tmp_path: Path):
    shapes.generate(tmp_path / "again", SMALL)
    assert contents(tmp_path / "again") == contents(world)


def test_one_more_video_adds_only_that_video(world: Path, tmp_path: Path):
    folder = shutil.copytree(world, tmp_path / "world")
    before = written(folder)
    shapes.generate(folder, SMALL)
    assert written(folder) == before
    shapes.generate(folder, replace(SMALL, videos=SMALL.videos + 1))
    after = written(folder)
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed - {"STGR-SFT.json", "STGR-RL.json"} == after.keys() - before.keys()
    assert {path for path in changed if path.endswith(".mp4")} == {"videos/000014.mp4"}
    shapes.generate(folder, SMALL)
    assert contents(folder) == contents(world)


def test_another_seed_is_another_world(world: Path, tmp_path: Path):
    folder = tmp_path / "world"
    small = shapes.ShapesConfig(videos=2, images=2, benchmark_videos=2, seed=8)
    shapes.generate(folder, small)
    first = contents(folder)
    shapes.generate(folder, replace(small, seed=9))
    assert not {path for path in first if contents(folder).get(path) == first[path]}


def test_a_folder_with_other_content_is_not_touched(tmp_path: Path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/holiday.mp4").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="not a shapes world"):
        shapes.generate(tmp_path, SMALL)
    assert list(contents(tmp_path)) == ["videos/holiday.mp4"]


def test_a_world_killed_at_any_moment_can_be_completed(few: Path, tmp_path: Path):
    folder = tmp_path / "world"
    modules = "from pathlib import *; from openo3.shapes import *; from openo3.shapes.noise import *"
    code = f"{modules}; generate(Path({str(folder)!r}), {FEW!r})"
    for files in (1, 2, 4):
        process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        deadline = time.monotonic() + 60
        while sum(1 for path in folder.glob("*/*.mp4")) < files and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (folder / "STGR-SFT.json").exists()
    shapes.generate(folder, FEW)
    assert contents(folder) == contents(few)


def test_a_kill_during_the_removal_of_an_old_world_is_detected(few: Path, tmp_path: Path):
    folder = tmp_path / "world"
    (folder / "videos").mkdir(parents=True)
    (folder / "world.json").write_text("null\n")
    (folder / "videos/000000.mp4").write_bytes(b"of the old world")
    shapes.generate(folder, FEW)
    assert contents(folder) == contents(few)


@pytest.mark.parametrize("file", ["STGR-SFT.json", "STGR-RL.json"])
def test_decoded_frames_match_the_key_items(world: Path, file: str):
    checked = 0
    for row in read_json(world / file):
        for frame in row["key_frames"]:
            picture = np.asarray(Image.open(world / "kfs" / frame["path"]).convert("RGB"))
            video = decord.VideoReader(str(world / "videos" / row["video_path"]))
            index = int(np.abs(video.get_frame_timestamp(range(len(video)))[:, 0] - frame["time"]).argmin())
            for pixels in (picture, video[index].asnumpy()):
                for name, [box] in row["key_items"][str(frame["idx"])].items():
                    assert_drawn(pixels, name, box)
                    checked += 1
    assert checked > 10


def assert_drawn(pixels: np.ndarray, name: str, box: list[float]) -> None:
    """Pixels of the shape's colour fill a fair part of its box and end at its sides, unless hidden there."""
    height, width = pixels.shape[:2]
    colour = np.array(COLOURS[name.split()[0]]) * 0.92
    alike = np.abs(pixels.astype(float) - colour).max(axis=-1) < 45
    x1, y1, x2, y2 = (value * side for value, side in zip(box, (width, height) * 2, strict=True))
    inside = alike[round(y1) : round(y2), round(x1) : round(x2)]
    assert inside.mean() > 0.15, name
    ring = alike.copy()  # just outside; other shapes of the same colour may be farther away
    ring[max(0, round(y1) - 2) : round(y2) + 2, max(0, round(x1) - 2) : round(x2) + 2] = False
    near = np.zeros_like(ring)
    near[max(0, round(y1) - 5) : round(y2) + 5, max(0, round(x1) - 5) : round(x2) + 5] = True
    assert (ring & near).sum() < 0.25 * inside.sum(), name


def test_benchmarks_are_held_out_and_exact(world: Path):
    records = read_json(world / "V_STaR_test.json")
    assert {record["vid"] for record in records} == {"000000", "000001", "000002", "000003"}
    assert len(records) in (7, 8)  # a clip may offer fewer than two questions of several steps
    for record in records:
        start, end = record["timestamps"]
        assert [box["timestamp"] for box in record["bboxes"]] == [
            second for second in range(60) if start <= second <= end
        ]
        assert all(0 <= box["frame_index"] < record["frame_count"] for box in record["bboxes"])
        assert f"the {record['object']}" == record["answer"]
    assert [len(record["answer"].split("-")) for record in read_json(world / "TVGBench.json")] == [2] * 4
    films = [p.read_bytes() for name in ("videos", "vstar", "tvgbench") for p in (world / name).iterdir()]
    assert len(set(films)) == len(films)


def test_benchmark_questions_have_their_declared_families():
    """V-STaR of one step in one of four questions and of two in two; TVGBench of each family as often."""
    clips = {split: [Clip.sample(3, split, n) for n in range(200)] for split in ("vstar", "tvgbench")}
    vstar = [record for clip in clips["vstar"] for record in benchmarks.vstar_records(clip, 2)]
    tvg = [record for clip in clips["tvgbench"] for record in benchmarks.tvgbench_records(clip, 2)]
    assert min(len(vstar), len(tvg)) > 0.98 * 400
    domains = Counter(record["domain"] for record in vstar)
    shares = {"one step": 0.25, "two steps": 0.5, "three steps": 0.25}
    assert domains.keys() == shares.keys()
    for domain, share in shares.items():
        assert domains[domain] / len(vstar) == pytest.approx(share, abs=0.08)
    asked = Counter(record["qsemtype"] for record in tvg)
    assert asked.keys() == FAMILIES.keys()
    assert max(asked.values()) < 3 * min(asked.values())
    assert len({(record["vid"], record["question"]) for record in vstar}) == len(vstar)
    assert len({(record["path"], record["question"]) for record in tvg}) == len(tvg)


def test_the_domain_is_the_number_of_steps_of_the_question():
    for number in range(60):
        for record in benchmarks.vstar_records(Clip.sample(3, "vstar", number), 2):
            question = record["question"]
            start, *steps = unfolded(description(question))
            taken = len(steps) + bool(ORDER.fullmatch(start) or SIDE.fullmatch(start))
            assert record["domain"] == ("one step", "two steps", "three steps")[taken - 1], question
            assert question.startswith("Find ") == (taken > 1)


def test_benchmark_questions_have_the_true_answer():
    for number in range(40):
        clip = Clip.sample(3, "vstar", number, scale=1 + number % 2)
        for record in benchmarks.vstar_records(clip, 2):
            [item] = fitting(clip.scene, description(record["question"]))
            assert description(record["temporal_question"]) == description(record["question"])
            assert (record["answer"], record["object"]) == (f"the {item.name}", item.name)
            assert record["timestamps"] == [item.enter_s, item.leave_s]
            assert record["spatial_question"] == f"Where is the {item.name}?"
        clip = Clip.sample(3, "tvgbench", number, scale=1 + number % 2)
        for record in benchmarks.tvgbench_records(clip, 2):
            [item] = fitting(clip.scene, description(record["question"]))
            assert record["answer"] == f"{item.enter_s:.1f}-{item.leave_s:.1f}"


def test_benchmarks_at_scale_two_are_twice_as_long_with_twice_as_many_shapes(tmp_path: Path):
    """The training clips are kept; clips rendered at another scale are rendered again."""
    folder, scaled = tmp_path / "world", replace(TINY, benchmark_scale=2)
    shapes.generate(folder, TINY)
    before, once = written(folder), contents(folder)
    shapes.generate(folder, TINY)
    assert written(folder) == before
    shapes.generate(folder, scaled)
    after, twice = written(folder), contents(folder)
    media = {path for path in before if "/" in path}
    assert {path for path in after if "/" in path} == media
    assert all(after[path] != before[path] for path in media)
    changed = {path for path in twice if twice[path] != once[path]}
    films = {path for path in media if path.startswith(("vstar/", "tvgbench/"))}
    assert changed == films | {"V_STaR_test.json", "TVGBench.json", "world.json"}
    assert read_json(folder / "world.json")["scale"] == 2
    for path in sorted(films):
        frames = decord.VideoReader(str(folder / path))
        clip = Clip.sample(TINY.seed, path.partition("/")[0], int(Path(path).stem), 2)
        assert len(frames) == round(clip.scene.duration_s * clip.scene.fps)
    records = read_json(folder / "V_STaR_test.json")
    assert all(record["timestamps"][1] * record["fps"] <= record["frame_count"] for record in records)
    pairs = [[Clip.sample(1, "vstar", n, scale).scene for scale in (1, 2)] for n in range(100)]
    longer, more = np.mean(
        [(b.duration_s / a.duration_s, len(b.objects) / len(a.objects)) for a, b in pairs], axis=0
    )
    assert longer == pytest.approx(2.0, abs=0.15)
    assert more == pytest.approx(2.0, abs=0.3)
    shapes.generate(folder, TINY)
    assert contents(folder) == once


def test_every_row_passes_validation(world: Path, tmp_path: Path):
    download.run(download.Params("shapes", shapes=SMALL), tmp_path)
    assert validate.run(validate.Params(max_rejected_share=0.0), tmp_path) is None
    metrics = read_json(tmp_path / "metrics/validation.json")
    assert metrics["rejected"] == 0
    assert metrics["rows"] == sum(len(read_json(world / path.name)) for path in world.glob("[SVT]*.json"))
