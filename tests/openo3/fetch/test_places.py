import zipfile

import pytest

from openo3.annotations.catalogue.table import Place
from openo3.annotations.sources import Reference, Source
from openo3.fetch.http import HttpFile
from openo3.fetch.places import Places
from openo3.fetch.plan import Item, Plan, Unavailable, Unfinished
from openo3.fetch.random_access import read
from openo3.fetch.sync import sync
from tests.support.archives import contents, noise
from tools.hub_server import Status

SOURCE = Source("x", videos="videos/stgr/plm/videos", key_frames="videos/stgr/plm/kfs")


def video(path: str) -> Reference:
    return Reference(SOURCE, "videos", path)


@pytest.fixture
def places(http, tmp_path, limits) -> Places:
    return Places(http, tmp_path, limits)


def archive(path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def test_a_member_is_matched_by_the_end_of_its_path(places, tmp_path):
    archive(tmp_path / "a.zip", {"data/deep/a.mp4": b"right", "data/other/a.mp4": b"other", "da.mp4": b"no"})
    found = places.open(Place(folder=".", path="a.zip", packing="zip")).find(video("deep/a.mp4"))
    assert found.path == "data/deep/a.mp4"


def test_the_published_folder_decides_between_several_matches(places, tmp_path):
    members = {
        f"stgr/{kind}/a.mp4": kind.encode() for kind in ("plm/kfs", "plm/videos", "temporal_grounding/videos")
    }
    archive(tmp_path / "a.zip", members)
    found = places.open(Place(folder=".", path="a.zip", packing="zip")).find(video("a.mp4"))
    assert found.path == "stgr/plm/videos/a.mp4"


DEEP = "dataset/timer1/videos/bench_data/a.mp4"
BENCHMARK = Source("bench", videos="videos/bench", benchmark=True)


def test_a_benchmark_member_is_matched_by_the_longest_common_suffix(places, tmp_path):
    archive(tmp_path / "a.zip", {"data/bench_data/a.mp4": b"right", "other/a.mp4": b"other"})
    finder = places.open(Place(folder=".", path="a.zip", packing="zip"))
    assert finder.find(Reference(BENCHMARK, "videos", DEEP)).path == "data/bench_data/a.mp4"
    with pytest.raises(Unavailable, match="not in"):
        finder.find(video(DEEP))  # a path of training data is used exactly as written


def test_a_benchmark_file_is_matched_by_the_longest_common_suffix(places, tmp_path):
    for name in ("bench_data/a.mp4", "other/a.mp4", "x/b.mp4", "y/b.mp4"):
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_bytes(name.encode())
    finder = places.open(Place(folder="own"))
    assert finder.find(Reference(BENCHMARK, "videos", DEEP)).path == tmp_path / "own/bench_data/a.mp4"
    with pytest.raises(Unavailable, match="2 files match"):
        finder.find(Reference(BENCHMARK, "videos", "deep/b.mp4"))
    with pytest.raises(Unavailable, match="not in"):
        finder.find(Reference(BENCHMARK, "videos", "deep/c.mp4"))
    with pytest.raises(Unavailable, match="not in"):
        finder.find(video(DEEP))


CLIP = Reference(BENCHMARK, "videos", "a.mp4", any_ending=True)


def test_a_clip_is_found_by_its_name_whatever_its_container(places, tmp_path, server):
    archive(tmp_path / "a.zip", {"data/a.webm": b"right", "data/a.srt": b"no", "data/ba.mkv": b"no"})
    zipped = places.open(Place(folder=".", path="a.zip", packing="zip"))
    assert zipped.find(CLIP).path == "data/a.webm"
    server.dataset("o/n", {"data/deep/a.mkv": b"abc", "data/a.txt": b""})
    assert read(places.open(Place(hub="o/n", path="data")).find(CLIP), 0, 3) == b"abc"
    with pytest.raises(Unavailable, match="not in"):
        zipped.find(Reference(BENCHMARK, "videos", "a.mp4"))  # where a row names the ending, it counts


def test_two_members_of_one_clip_are_refused(places, tmp_path):
    archive(tmp_path / "a.zip", {"data/a.webm": b"one", "data/a.mp4": b"two"})
    with pytest.raises(Unavailable, match=r"2 different members match: data/a\.webm, data/a\.mp4"):
        places.open(Place(folder=".", path="a.zip", packing="zip")).find(CLIP)


def test_identical_matches_count_as_one_and_different_matches_are_refused(places, tmp_path):
    archive(
        tmp_path / "a.zip", {"p/a.mp4": b"same", "q/a.mp4": b"same", "p/b.mp4": b"one", "q/b.mp4": b"two"}
    )
    finder = places.open(Place(folder=".", path="a.zip", packing="zip"))
    assert finder.find(video("a.mp4")).size == 4
    with pytest.raises(Unavailable, match=r"2 different members match: p/b\.mp4, q/b\.mp4"):
        finder.find(video("b.mp4"))


@pytest.mark.parametrize("name", ["../a.mp4", "/etc/a.mp4", "x/../../a.mp4", "x\\a.mp4", "C:\\a.mp4"])
def test_members_outside_the_root_are_refused_with_a_reason(places, tmp_path, name):
    archive(tmp_path / "a.zip", {name: b"x"})
    with pytest.raises(Unavailable) as error:
        places.open(Place(folder=".", path="a.zip", packing="zip")).find(video("a.mp4"))
    assert error.value.problem == ("missing" if "\\" in name else "unsafe")
    assert "a.zip" in error.value.detail


def test_archives_matched_by_a_pattern_are_searched_as_one(places, tmp_path):
    for number in (1, 2):
        archive(tmp_path / f"part_{number}.zip", {f"{number}.mp4": b"x"})
    finder = places.open(Place(folder=".", path="part_*.zip", packing="zip"))
    assert [finder.find(video(f"{n}.mp4")).archive.file.name[-10:] for n in (1, 2)] == [
        "part_1.zip",
        "part_2.zip",
    ]
    with pytest.raises(Unavailable, match=r"not in \S+part_1\.zip \S+part_2\.zip"):
        finder.find(video("3.mp4"))


def test_files_of_a_folder_are_found_and_links_are_not_followed(places, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "mine/a.mp4").write_bytes(b"a")
    (tmp_path / "mine/out.mp4").symlink_to(tmp_path / "secret.mp4")
    finder = places.open(Place(folder="mine"))
    assert finder.find(video("a.mp4")).size == 1
    with pytest.raises(Unavailable, match="a link leads out") as error:
        finder.find(video("out.mp4"))
    assert error.value.problem == "unsafe"
    with pytest.raises(Unavailable, match=r"not in \S+/mine$"):
        finder.find(video("gone.mp4"))


def test_files_below_a_folder_of_a_hub_dataset_are_found(places, server):
    server.dataset("o/n", {"data/v/a b@é.mp4": b"abc", "data/w.mp4": b""})
    finder = places.open(Place(hub="o/n", path="data"))
    assert read(finder.find(video("v/a b@é.mp4")), 0, 3) == b"abc"
    with pytest.raises(Unavailable, match="not in hub o/n: data"):
        finder.find(video("a b@é.mp4"))


def test_files_below_a_url_are_found(places, server):
    server.put("base/v/a b@é.mp4", b"abc")
    finder = places.open(Place(url=f"{server.url}/base/"))
    assert read(finder.find(video("v/a b@é.mp4")), 0, 3) == b"abc"
    with pytest.raises(Unavailable, match="status 404"):
        finder.find(video("v/gone.mp4"))


def test_a_missing_archive_is_requested_once(places, server):
    place = Place(url=server.url, path="gone.zip", packing="zip")
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"gone\.zip: status 404"):
            places.open(place)
    assert len(server.requests) == 1


def test_a_split_archive_declared_as_whole_is_an_error(places, server):
    server.put("a.zip", b"x" * 100 + b"PK\5\6" + b"\3\0\3\0" + bytes(14))
    with pytest.raises(Unavailable, match="set its packing to `split zip`"):
        places.open(Place(url=server.url, path="a.zip", packing="zip"))


def test_videos_of_a_site_are_fetched_with_yt_dlp(places, server, tmp_path, limits):
    pytest.importorskip("yt_dlp")
    server.put("watch/abc.mp4", noise(5000))
    finder = places.open(Place(site=f"{server.url}/watch/{{name}}.mp4"))
    server.spoil("/watch/busy.mp4", Status(503), Status(503))
    plan = Plan(
        [Item(f"media/{name}", finder.find(video(name)), "site") for name in ("abc.mp4", "gone.webm")]
    )
    assert sync(plan, tmp_path / "raw", tmp_path / "known", limits).missing == 1
    assert contents(tmp_path / "raw/media") == {"abc.mp4": noise(5000)}
    with pytest.raises(Unfinished, match="503"):
        finder.find(video("busy.mp4")).stream()


def test_a_zip_of_unknown_size_is_an_error(places, http, monkeypatch):
    monkeypatch.setattr(http, "file", lambda url: HttpFile(http, url))
    with pytest.raises(Unavailable, match=r"a\.zip: the server does not state its size"):
        places.open(Place(url="http://localhost", path="a.zip", packing="zip"))
