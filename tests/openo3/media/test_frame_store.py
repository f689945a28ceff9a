"""Frame stores: their content, what a change rewrites, and how a killed run resumes."""

import hashlib
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from openo3.executors import ExecutorError
from openo3.media import frame_writer, reader
from openo3.media.decode import SamplingConfig
from openo3.media.frame_store import FrameStore
from openo3.media.frame_writer import KeyRequest, Request, write_store
from tests.support.clips import clip, number

POLICY = SamplingConfig(fps=2, min_frames=4, max_frames=8, max_pixels=4096, multiple=16)
NAMES = [f"v{place}.mp4" for place in range(9)]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Nine clips of 1.2 s whose first frames are numbered 0, 20, 40, ... and one image."""
    folder = tmp_path_factory.mktemp("media")
    for place, name in enumerate(NAMES):
        clip(folder / name, 36, first=20 * place)
    Image.new("RGB", (90, 60), "green").save(folder / "still.jpg")
    return folder


def request(root: Path, media: str, *keys: KeyRequest) -> Request:
    return Request(media, hashlib.sha256((root / media).read_bytes()).hexdigest(), keys)


def requests(root: Path) -> list[Request]:
    return [request(root, name) for name in [*NAMES, "still.jpg"]]


def fill(folder: Path, root: Path, wanted: list[Request], policy: SamplingConfig = POLICY, **options):
    options = {"shards": 3, "workers": 2, "time_limit_s": 20.0} | options
    return write_store(folder, root, wanted, policy, **options)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    stats = {file.name: file.stat() for file in folder.glob("*.parquet")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def rows(folder: Path) -> dict[str, dict]:
    """The content of a store, independent of its layout."""
    tables = [pq.read_table(file).to_pylist() for file in folder.glob("*.parquet")]
    assert sum(map(len, tables)) == len(FrameStore.open(folder)), "each media once"
    return {row["media"]: row for table in tables for row in table}


def shard_of(folder: Path, media: str) -> str:
    return json.loads((folder / "index.json").read_text())["media"][media]["shard"]


class TestReading:
    def test_frames(self, tmp_path, root):
        keys = (KeyRequest(0.5), KeyRequest(0.71))
        wanted = [request(root, "v1.mp4", *keys), request(root, "v2.mp4"), request(root, "still.jpg")]
        done = fill(tmp_path, root, wanted)
        assert (done.media, done.frames, done.key_frames, done.rejected) == (3, 4 + 2 + 4 + 1, 2, [])
        store = FrameStore.open(tmp_path)
        assert "v1.mp4" in store
        assert "v3.mp4" not in store
        assert len(store) == 3
        assert store.sizes == {"v1.mp4": (64, 48), "v2.mp4": (64, 48), "still.jpg": (64, 48)}
        assert store.duration_s("v1.mp4") == pytest.approx(1.2)
        even = store.frames("v1.mp4")
        assert [frame.time_s for frame in even] == pytest.approx([0, 0.366667, 0.766667, 1.166667])
        assert [number(frame.image) for frame in even] == [20, 31, 43, 55]
        assert [frame.image.mode for frame in even] == ["RGB"] * 4

    def test_key_frames_are_merged_in_order_of_time(self, tmp_path, root):
        keys = (KeyRequest(0.0), KeyRequest(0.5), KeyRequest(0.51), KeyRequest(0.71))
        fill(tmp_path, root, [request(root, "v1.mp4", *keys)])
        store = FrameStore.open(tmp_path)
        frames = store.frames("v1.mp4", [0.5, 0.71])
        assert [(frame.time_s, frame.key) for frame in frames] == [
            (0.0, False),
            (0.366667, False),
            (0.5, True),
            (0.7, True),
            (0.766667, False),
            (1.166667, False),
        ]
        assert [number(frame.image) for frame in frames] == [20, 31, 35, 41, 43, 55]
        same = store.frames("v1.mp4", [0.0, 0.5, 0.51])
        assert [frame.time_s for frame in same] == [0.0, 0.366667, 0.5, 0.766667, 1.166667], "no moment twice"
        assert same[0].key
        with pytest.raises(KeyError, match=r"no key frame at 0\.9 s"):
            store.frames("v1.mp4", [0.9])

    def test_an_image_has_one_frame(self, tmp_path, root):
        fill(tmp_path, root, [request(root, "still.jpg")])
        (frame,) = FrameStore.open(tmp_path).frames("still.jpg", [3.0])
        assert (frame.time_s, frame.key, frame.image.size) == (0.0, False, (64, 48))
        assert FrameStore.open(tmp_path).duration_s("still.jpg") is None

    def test_absent_media_and_stores_raise(self, tmp_path, root):
        with pytest.raises(FileNotFoundError, match="sample_frames"):
            FrameStore.open(tmp_path)
        fill(tmp_path, root, [])
        with pytest.raises(KeyError, match=r"v0\.mp4: not in"):
            FrameStore.open(tmp_path).frames("v0.mp4")

    def test_a_store_can_be_pickled(self, tmp_path, root):
        fill(tmp_path, root, [request(root, "v1.mp4")])
        store = FrameStore.open(tmp_path)
        store.frames("v1.mp4")
        assert len(pickle.loads(pickle.dumps(store)).frames("v1.mp4")) == 4

    @pytest.mark.slow
    def test_shards_are_a_dataset_with_pictures(self, tmp_path, root):
        import datasets

        fill(tmp_path / "store", root, requests(root))
        files = [str(file) for file in sorted((tmp_path / "store").glob("*.parquet"))]
        rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))["train"]
        assert rows.features["frames"] == datasets.List(datasets.Image())
        assert rows.features["times_s"] == datasets.List(datasets.Value("float64"))
        assert sorted(rows["media"]) == sorted([*NAMES, "still.jpg"])
        row = next(row for row in rows if row["media"] == "v3.mp4")
        assert [number(image) for image in row["frames"]] == [60, 71, 83, 95]
        assert (row["width"], row["height"]) == row["frames"][0].size


class TestWriting:
    def test_the_bytes_do_not_depend_on_the_workers(self, tmp_path, root):
        fill(tmp_path / "a", root, requests(root), workers=1)
        fill(tmp_path / "b", root, requests(root)[::-1], workers=3)
        assert content(tmp_path / "a") == content(tmp_path / "b")
        index = json.loads((tmp_path / "a/index.json").read_text())
        assert len({entry["shard"] for entry in index["media"].values()}) == 3

    def test_an_unchanged_store_is_not_rewritten(self, tmp_path, root):
        fill(tmp_path, root, requests(root))
        before = identities(tmp_path), (tmp_path / "index.json").stat().st_mtime_ns
        done = fill(tmp_path, root, requests(root))
        assert (identities(tmp_path), (tmp_path / "index.json").stat().st_mtime_ns) == before
        assert (done.sampled, done.kept, done.shards_written) == (0, 10, 0)

    def test_a_new_video_adds_one_shard_and_touches_no_other(self, tmp_path, root):
        wanted = requests(root)
        fill(tmp_path, root, wanted[1:])
        before = identities(tmp_path)
        done = fill(tmp_path, root, wanted)
        after = identities(tmp_path)
        assert (done.sampled, done.kept, done.shards_written) == (1, 9, 1)
        assert len(after) == len(before) + 1
        assert {name: after[name] for name in before} == before
        store = FrameStore.open(tmp_path)
        assert [number(frame.image) for frame in store.frames("v0.mp4")] == [0, 11, 23, 35]

    def test_shards_stay_few_and_are_merged_without_decoding(self, tmp_path, root):
        wanted = requests(root)
        for count in range(4, 11):
            done = fill(tmp_path / "grown", root, wanted[:count], shards=2)
            assert done.sampled == (4 if count == 4 else 1)
            assert len(identities(tmp_path / "grown")) <= 4
        fill(tmp_path / "fresh", root, wanted, shards=2)
        assert rows(tmp_path / "grown") == rows(tmp_path / "fresh")

    @pytest.mark.parametrize("left", [None, "{"])
    def test_a_lost_layout_is_rebuilt_without_decoding(self, tmp_path, root, left):
        fill(tmp_path / "grown", root, requests(root)[2:])
        fill(tmp_path / "grown", root, requests(root))
        (tmp_path / "grown/layout.json").unlink()
        if left:
            (tmp_path / "grown/layout.json").write_text(left)
        assert fill(tmp_path / "grown", root, requests(root)).sampled == 0
        fill(tmp_path / "fresh", root, requests(root))
        assert content(tmp_path / "grown") == content(tmp_path / "fresh")

    def test_one_changed_video_rewrites_one_shard(self, tmp_path, root):
        wanted = requests(root)
        fill(tmp_path / "store", root, wanted)
        before = identities(tmp_path / "store")
        other = tmp_path / "media"
        other.mkdir()
        for file in root.iterdir():
            (other / file.name).symlink_to(file)
        (other / "v4.mp4").unlink()
        clip(other / "v4.mp4", 36, first=200)
        wanted[4] = request(other, "v4.mp4")
        done = fill(tmp_path / "store", other, wanted)
        after = identities(tmp_path / "store")
        assert (done.sampled, done.kept, done.shards_written) == (1, 9, 1)
        assert {name for name in after if after[name] != before[name]} == {
            shard_of(tmp_path / "store", "v4.mp4")
        }
        store = FrameStore.open(tmp_path / "store")
        assert [number(frame.image) for frame in store.frames("v4.mp4")] == [200, 211, 223, 235]
        assert [number(frame.image) for frame in store.frames("v5.mp4")] == [100, 111, 123, 135]
        fill(tmp_path / "fresh", other, wanted)
        assert content(tmp_path / "store") == content(tmp_path / "fresh")

    def test_a_new_key_time_and_a_new_key_image_count_as_changes(self, tmp_path, root):
        fill(tmp_path, root, requests(root))
        for key in (KeyRequest(0.5), KeyRequest(0.5, "still.jpg", "1"), KeyRequest(0.5, "still.jpg", "2")):
            wanted = requests(root)
            wanted[2] = request(root, "v2.mp4", key)
            done = fill(tmp_path, root, wanted)
            assert (done.sampled, done.shards_written) == (1, 1)
        assert [frame.key for frame in FrameStore.open(tmp_path).frames("v2.mp4", [0.5])].count(True) == 1

    def test_a_changed_sampling_policy_rewrites_everything(self, tmp_path, root):
        fill(tmp_path, root, requests(root))
        done = fill(tmp_path, root, requests(root), SamplingConfig(2, 4, 8, 4096, 32))
        assert (done.sampled, done.kept) == (10, 0)
        assert FrameStore.open(tmp_path).sizes["v1.mp4"] == (64, 64)

    def test_shards_are_merged_without_decoding_when_fewer_are_requested(self, tmp_path, root):
        fill(tmp_path / "a", root, requests(root), shards=5)
        done = fill(tmp_path / "a", root, requests(root), shards=1)
        assert (done.sampled, done.shards_written) == (0, 1)
        fill(tmp_path / "b", root, requests(root), shards=1)
        assert content(tmp_path / "a") == content(tmp_path / "b")

    def test_removed_media_disappear(self, tmp_path, root):
        fill(tmp_path / "a", root, requests(root))
        done = fill(tmp_path / "a", root, requests(root)[:6])
        assert (done.sampled, done.kept) == (0, 6)
        fill(tmp_path / "b", root, requests(root)[:6])
        assert rows(tmp_path / "a") == rows(tmp_path / "b")
        fill(tmp_path / "a", root, [])
        assert set(content(tmp_path / "a")) == {"index.json", "layout.json"}

    def test_rejections(self, tmp_path, root):
        media = tmp_path / "media"
        media.mkdir()
        for name in NAMES[:4]:
            (media / name).symlink_to(root / name)
        (media / "noise.mp4").write_bytes(random.Random(0).randbytes(9000))
        (media / "empty.mp4").touch()
        wanted = [request(media, name) for name in [*NAMES[:4], "noise.mp4", "empty.mp4"]]
        wanted.append(Request("absent.mp4", "0"))
        done = fill(tmp_path / "store", media, wanted)
        reasons = {name: reason for name, reason, _ in done.rejected}
        assert reasons == {"noise.mp4": "unreadable", "empty.mp4": "empty", "absent.mp4": "missing"}
        assert done.media == 4
        before = identities(tmp_path / "store")
        again = fill(tmp_path / "store", media, wanted)
        assert again.rejected == done.rejected, "tried again"
        assert identities(tmp_path / "store") == before, "and nothing else touched"
        assert "noise.mp4" not in FrameStore.open(tmp_path / "store")

    def test_a_video_that_breaks_leaves_the_store(self, tmp_path, root):
        media = tmp_path / "media"
        media.mkdir()
        clip(media / "a.mp4", 10)
        fill(tmp_path / "store", media, [request(media, "a.mp4")])
        (media / "a.mp4").write_bytes(b"broken")
        done = fill(tmp_path / "store", media, [request(media, "a.mp4")])
        assert done.rejected[0][:2] == ("a.mp4", "unreadable")
        assert "a.mp4" not in FrameStore.open(tmp_path / "store")

    def test_progress_counts_every_media_once(self, tmp_path, root):
        counts = []
        fill(tmp_path, root, requests(root), progress=counts.append)
        assert sum(counts) == 10
        fill(tmp_path, root, requests(root), progress=counts.append)
        assert sum(counts) == 20

    def test_a_damaged_shard_is_rebuilt(self, tmp_path, root):
        fill(tmp_path, root, requests(root))
        before = content(tmp_path)
        shard = tmp_path / shard_of(tmp_path, "v0.mp4")
        shard.write_bytes(shard.read_bytes()[:5000])
        fill(tmp_path, root, requests(root))
        assert content(tmp_path) == before

    @pytest.mark.parametrize("part", ["JPEG", "times", "footer"])
    def test_zeroed_bytes_in_a_kept_shard_are_found_and_repaired(self, tmp_path, root, part):
        fill(tmp_path, root, requests(root))
        before = content(tmp_path)
        shard = tmp_path / shard_of(tmp_path, "v0.mp4")
        data = bytearray(shard.read_bytes())
        times = struct.pack("<d", 0.366667)
        start = {
            "JPEG": data.index(b"\xff\xd8\xff") + 700,
            "times": data.index(times),
            "footer": len(data) - 300,
        }
        data[start[part] : start[part] + 8] = bytes(8)
        shard.write_bytes(data)
        done = fill(tmp_path, root, requests(root))
        assert content(tmp_path) == before
        assert done.shards_written == 1
        assert 1 <= done.sampled < 10, "only what was damaged"

    @pytest.mark.parametrize("left", [b"", bytes(500), b"[]", b"\xff"])
    def test_a_damaged_index_or_layout_is_rebuilt(self, tmp_path, root, left):
        fill(tmp_path, root, requests(root))
        before = content(tmp_path)
        for name in ("index.json", "layout.json"):
            (tmp_path / name).write_bytes(left)
            assert fill(tmp_path, root, requests(root)).sampled == 0
        assert content(tmp_path) == before

    def test_a_machine_that_is_too_slow_for_any_clip_rejects_no_media(self, tmp_path, root):
        fill(tmp_path, root, requests(root)[:2])
        before = content(tmp_path)
        with pytest.raises(
            ExecutorError, match=r"the decoder fails on a clip made for testing it.* \(too slow"
        ):
            fill(tmp_path, root, requests(root), time_limit_s=1e-4)
        after = content(tmp_path)
        assert all(after[name] == before[name] for name in before if name.endswith(".parquet"))
        assert not any(file.suffix == ".gif" for file in tmp_path.iterdir())

    def test_no_ffmpeg_command_is_needed(self, tmp_path, root, monkeypatch):
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
        assert fill(tmp_path, root, requests(root)[:1]).sampled == 1

    @pytest.mark.parametrize("what", ["library", "segments"])
    def test_another_library_or_way_to_cut_segments_gives_other_marks(self, root, monkeypatch, what):
        asked = request(root, NAMES[0])
        frame_writer._code.cache_clear()
        before = frame_writer.fingerprint(asked, POLICY)
        if what == "library":
            monkeypatch.setattr(reader.metadata, "version", lambda library: "0.1")
        else:
            monkeypatch.setattr(frame_writer, "_sample_segment", frame_writer._marks)
        frame_writer._code.cache_clear()
        try:
            assert frame_writer.fingerprint(asked, POLICY) != before
        finally:
            frame_writer._code.cache_clear()

    def test_rows_of_other_code_are_refused(self, tmp_path, root, monkeypatch):
        monkeypatch.setattr(frame_writer, "_code", lambda: "an older installation")
        with pytest.raises(RuntimeError, match=r"v0\.mp4: decoded by a worker that runs other code"):
            fill(tmp_path, root, requests(root)[:1])


SCRIPT = """
import sys
from pathlib import Path
from tests.openo3.media.test_frame_store import fill, requests
fill(Path(sys.argv[1]), Path(sys.argv[2]), requests(Path(sys.argv[2])), shards=6)
"""


def test_a_run_killed_at_any_moment_resumes(tmp_path, root):
    """Whatever a killed process left, the next run ends with the same bytes."""
    fill(tmp_path / "undisturbed", root, requests(root), shards=6)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), str(root)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    moments = random.Random(0)
    for kill in range(4):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        shards = moments.randrange(6)  # number of finished shards at the kill
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "killed").glob("frames-*"))) >= shards:
                time.sleep(moments.uniform(0, 0.1))
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if kill == 2:  # like the temporary file left by a kill before its rename
            (tmp_path / "killed").mkdir(exist_ok=True)
            (tmp_path / "killed" / ".frames-0123456789abcdef.parquet.part").write_bytes(b"half")
        if kill % 2:
            for file in sorted((tmp_path / "killed").glob("frames-*"))[2:]:
                file.unlink()
    fill(tmp_path / "killed", root, requests(root), shards=6)
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")
