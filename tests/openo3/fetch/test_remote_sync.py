"""Files from the network reach `data/raw` whole or not at all, whatever fails on the way."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from openo3.fetch import batches
from openo3.fetch.hub import HubRepo
from openo3.fetch.manifest import read_manifest
from openo3.fetch.plan import FetchError, Item, Plan
from openo3.fetch.random_access import LocalFile
from openo3.fetch.sync import Summary, sync
from openo3.fetch.tars import TarMember, TarSeries
from openo3.fetch.zips import ZipArchive
from openo3.files.artifacts import read_jsonl
from tests.support.archives import contents, needs_zip, noise, tar_archive, zip_archive
from tools.hub_server import Break, Do, HubServer, Page, Stall, Status

ROOT = Path(__file__).parents[3]
CLIPS = {f"v/c{n:02d}.mp4": noise(40_000 + n, n) for n in range(12)}


@pytest.fixture
def urls(server) -> dict[str, str]:
    return {name: server.put(name, content) for name, content in CLIPS.items()}


def whole(http, urls: dict[str, str]) -> Plan:
    return Plan([Item(f"media/{name}", http.file(url), "web") for name, url in urls.items()])


def zipped(http, server: HubServer, parts: list[Path], wanted: list[str]) -> Plan:
    addresses = {part.suffix: server.put(part.name, part) for part in parts}
    archive = ZipArchive.open(http.file(addresses[".zip"]), lambda suffix: http.file(addresses[suffix]))
    members = {member.path: member for member in archive.members}
    return Plan([Item(f"media/{path}", members[path], "zip") for path in wanted])


def missing(raw: Path) -> dict[str, tuple[str, str]]:
    return {line["path"]: (line["problem"], line["detail"]) for line in read_jsonl(raw / "missing.jsonl")}


def test_files_are_fetched_once_and_recognised_afterwards(server, http, urls, limits, tmp_path):
    raw, known = tmp_path / "raw", tmp_path / "known"
    assert sync(whole(http, urls), raw, known, limits) == Summary(12, 12, 0, 0, sum(map(len, CLIPS.values())))
    assert contents(raw / "media") == CLIPS
    assert read_manifest(raw)["media/v/c00.mp4"]["origin"].startswith(f"{urls['v/c00.mp4']}@")
    server.requests.clear()
    assert sync(whole(http, urls), raw, known, limits).copied == 0
    known.unlink()
    assert sync(whole(http, urls), raw, known, limits).copied == 0
    assert server.sent() == 24  # one byte of each, to learn its version


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_file_of_another_version_is_fetched_again(server, http, urls, limits, tmp_path, forgotten):
    raw, known = tmp_path / "raw", tmp_path / "known"
    sync(whole(http, urls), raw, known, limits)
    if forgotten:
        known.unlink()
    server.put("v/c03.mp4", noise(40_003, 99))  # same size as before
    assert sync(whole(http, urls), raw, known, limits).copied == 1
    assert (raw / "media/v/c03.mp4").read_bytes() == noise(40_003, 99)


def test_a_refused_new_version_also_removes_the_old_one(server, http, urls, limits, tmp_path):
    raw, known = tmp_path / "raw", tmp_path / "known"
    sync(whole(http, urls), raw, known, limits)
    server.put("v/c03.mp4", Page().text + noise(50_000))
    assert sync(whole(http, urls), raw, known, limits).missing == 1
    assert contents(raw / "media") == {
        name: content for name, content in CLIPS.items() if name != "v/c03.mp4"
    }
    assert len(read_manifest(raw)) == 11


def test_after_a_kill_files_that_dvc_checked_out_are_not_fetched_again(server, http, urls, limits, tmp_path):
    """Their mtimes differ, and only the manifest records their origin."""
    raw, known = tmp_path / "raw", tmp_path / "known"
    sync(whole(http, urls), raw, known, limits)
    for path in raw.rglob("*.mp4"):
        os.utime(path)
    known.unlink()
    server.put("v/c03.mp4", noise(40_003, 99))
    plan = whole(http, urls)
    server.spoil("/v/c03.mp4", *[Status(500)] * 4)
    with pytest.raises(FetchError):  # same effect as a kill: the manifest is gone
        sync(plan, raw, known, limits)
    assert not (raw / "manifest.jsonl").exists()
    (raw / "media/v/c07.mp4").write_bytes(noise(40_007, 5))  # not the file that the manifest described
    server.requests.clear()
    assert sync(plan, raw, known, limits).copied == 2
    assert {request.path for request in server.requests} == {"/v/c03.mp4", "/v/c07.mp4"}
    assert (raw / "media/v/c07.mp4").read_bytes() == CLIPS["v/c07.mp4"]


@needs_zip
@pytest.mark.parametrize("options", [(), ("-0",), ("-s", "64k"), ("-s", "64k", "-0")])
def test_only_the_needed_members_of_a_remote_archive_are_read(server, http, limits, tmp_path, options):
    members = {f"top/{path}": content * 10 for path, content in CLIPS.items()}
    plan = zipped(
        http, server, zip_archive(tmp_path, "a", members, *options), ["top/v/c03.mp4", "top/v/c04.mp4"]
    )
    server.requests.clear()
    sync(plan, tmp_path / "raw", tmp_path / "known", limits)
    assert contents(tmp_path / "raw/media") == {
        name: members[name] for name in ("top/v/c03.mp4", "top/v/c04.mp4")
    }
    assert 800_000 < server.sent() < 802_000
    assert len(server.requests) <= (
        14 if "-s" in options else 1
    )  # adjacent members in one range, across parts


def test_distant_members_are_fetched_in_parallel(http, server, limits, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MAX_GAP", 1000)
    plan = zipped(http, server, zip_archive(tmp_path, "a", CLIPS), ["v/c01.mp4", "v/c05.mp4", "v/c09.mp4"])
    server.requests.clear()
    sync(plan, tmp_path / "raw", tmp_path / "known", limits)
    assert len(server.requests) == 3
    assert server.sent() < 125_000


def test_broken_stalled_and_busy_connections_are_retried(server, http, urls, limits, tmp_path):
    plan = whole(http, urls)
    server.spoil("/v/c01.mp4", Break(100), Break(20_000), Status(500))
    server.spoil("/v/c02.mp4", Stall(10_000))
    server.spoil("/v/c03.mp4", Status(429, {"Retry-After": "0"}), Break(1000))
    sync(plan, tmp_path / "raw", tmp_path / "known", limits)
    assert contents(tmp_path / "raw/media") == CLIPS


def test_failed_files_do_not_stop_others_and_are_resumed_next_time(server, http, urls, limits, tmp_path):
    raw, known = tmp_path / "raw", tmp_path / "known"
    server.spoil("/v/c05.mp4", Do(lambda: None), Break(30_000), *[Status(503)] * 4)
    message = r"^1 files could not be fetched \(\S+/v/c05\.mp4: status 503\); run again"
    with pytest.raises(FetchError, match=message):
        sync(whole(http, urls), raw, known, limits)
    assert not (raw / "manifest.jsonl").exists()
    assert len(contents(raw / "media")) == 11
    server.requests.clear()
    assert sync(whole(http, urls), raw, known, limits).copied == 1
    assert contents(raw / "media") == CLIPS
    assert server.sent("c05.mp4") == 1 + len(CLIPS["v/c05.mp4"]) - 30_000
    assert not (raw / ".partial").exists()


def test_a_partial_file_of_another_version_is_not_resumed(server, http, urls, limits, tmp_path):
    raw, known = tmp_path / "raw", tmp_path / "known"
    server.spoil("/v/c05.mp4", Do(lambda: None), Break(30_000), *[Status(503)] * 4)
    with pytest.raises(FetchError):
        sync(whole(http, urls), raw, known, limits)
    server.put("v/c05.mp4", noise(40_005, 77))
    sync(whole(http, urls), raw, known, limits)
    assert (raw / "media/v/c05.mp4").read_bytes() == noise(40_005, 77)


def test_a_damaged_partial_file_is_fetched_again(server, http, limits, tmp_path):
    commit_files = {"c.mp4": noise(60_000)}
    server.dataset("o/n", commit_files)
    plan = Plan([Item("media/c.mp4", HubRepo.open(http, "o/n", None).files()["c.mp4"], "hub")])
    path = next(iter(p for p in server.files if p.endswith("c.mp4")))
    server.spoil(path, Break(30_000), *[Status(503)] * 4)
    raw, known = tmp_path / "raw", tmp_path / "known"
    with pytest.raises(FetchError):
        sync(plan, raw, known, limits)
    [part] = (raw / ".partial").iterdir()
    part.write_bytes(b"x" * 30_000)
    assert sync(plan, raw, known, limits).missing == 0
    assert (raw / "media/c.mp4").read_bytes() == commit_files["c.mp4"]


def test_ranges_of_different_versions_are_never_combined(server, http, urls, limits, tmp_path):
    change = "v/c05.mp4"
    plan = whole(http, urls)
    server.spoil(f"/{change}", Break(20_000), Do(lambda: server.put(change, noise(40_005, 7))))
    with pytest.raises(FetchError, match="changed on the server during the download"):
        sync(plan, tmp_path / "raw", tmp_path / "known", limits)
    assert change not in contents(tmp_path / "raw/media")
    sync(whole(http, urls), tmp_path / "raw", tmp_path / "known", limits)
    assert (tmp_path / "raw/media" / change).read_bytes() == noise(40_005, 7)


def test_a_lost_network_ends_the_run_quickly(server, http, limits, tmp_path):
    urls = {f"{n}.mp4": server.put(f"{n}.mp4", b"x" * 1000) for n in range(60)}
    plan = whole(http, urls)
    for name in urls:
        server.spoil(f"/{name}", *[Status(500)] * 4)
    with pytest.raises(FetchError, match="60 files could not be fetched"):
        sync(plan, tmp_path / "raw", tmp_path / "known", limits)
    assert len(server.requests) < 60 + 30 * 4


@pytest.mark.parametrize("page", [Page(), Page("video/mp4")], ids=str)
def test_a_web_page_is_not_accepted_as_a_video(server, http, limits, tmp_path, page):
    """Neither a page declared as HTML nor one declared as a video with the right size is accepted."""
    url = server.put("a.mp4", page.text)
    plan = Plan([Item("media/a.mp4", http.file(url), "web")])
    server.spoil("/a.mp4", page)
    sync(plan, tmp_path / "raw", tmp_path / "known", limits)
    problem, detail = missing(tmp_path / "raw")["a.mp4"]
    assert problem == "unreadable"
    assert "a web page instead of the file" in detail
    assert contents(tmp_path / "raw/media") == {}


@pytest.mark.parametrize("damage", ["digest", "size"])
def test_wrong_digests_and_sizes_are_refused(server, http, limits, tmp_path, damage):
    file = http.file(server.put("a.mp4", noise(5000)))
    wrong = replace(file, sha256="0" * 64) if damage == "digest" else replace(file, size=6000, tag=None)
    plan = Plan([Item("media/a.mp4", wrong, "web"), Item("media/b.mp4", file, "web")])
    if damage == "digest":
        assert sync(plan, tmp_path / "raw", tmp_path / "known", limits).missing == 1
        assert missing(tmp_path / "raw") == {
            "a.mp4": ("unreadable", f"{server.url}/a.mp4: damaged, its sha256 is wrong")
        }
    else:
        with pytest.raises(FetchError, match="changed"):
            sync(plan, tmp_path / "raw", tmp_path / "known", limits)
    assert list(contents(tmp_path / "raw/media")) == ["b.mp4"]


@needs_zip
@pytest.mark.parametrize("options", [(), ("-0",)])
def test_a_damaged_member_is_refused_without_affecting_others(server, http, limits, tmp_path, options):
    texts = {f"t{n}.mp4": (b"%d some words " % n) * 700 for n in range(5)}
    [archive] = zip_archive(tmp_path, "a", texts, *options)
    content = bytearray(archive.read_bytes())
    third = content.index(b"t2.mp4")
    content[third + 60] ^= 0x55
    archive.write_bytes(content)
    plan = zipped(http, server, [archive], list(texts))
    assert sync(plan, tmp_path / "raw", tmp_path / "known", limits).missing == 1
    [(path, (problem, detail))] = missing(tmp_path / "raw").items()
    assert (path, problem) == ("t2.mp4", "unreadable")
    assert f"{server.url}/a.zip#t2.mp4: damaged" in detail
    assert "\n" not in detail
    assert contents(tmp_path / "raw/media") == {k: v for k, v in texts.items() if k != "t2.mp4"}


@needs_zip
def test_a_damaged_header_affects_one_member(server, http, limits, tmp_path):
    [archive] = zip_archive(tmp_path, "a", CLIPS)
    content = bytearray(archive.read_bytes())
    at = content.index(b"v/c02.mp4") - 30
    content[at : at + 30] = b"\xff" * 30
    archive.write_bytes(content)
    sync(zipped(http, server, [archive], list(CLIPS)), tmp_path / "raw", tmp_path / "known", limits)
    assert list(missing(tmp_path / "raw")) == ["v/c02.mp4"]
    assert len(contents(tmp_path / "raw/media")) == 11


def test_tar_members_are_fetched_and_absent_ones_reported(server, http, limits, tmp_path):
    series = TarSeries((http.file(server.put("a.tar.gz", tar_archive(CLIPS, "w:gz"))),))
    wanted = ["v/c03.mp4", "v/c07.mp4", "v/gone.mp4"]
    plan = Plan([Item(f"media/{path}", TarMember(series, path), "tar") for path in wanted])
    raw, known = tmp_path / "raw", tmp_path / "known"
    assert sync(plan, raw, known, limits).missing == 1
    assert contents(raw / "media") == {path: CLIPS[path] for path in wanted[:2]}
    assert missing(raw) == {"v/gone.mp4": ("missing", f"not in {server.url}/a.tar.gz")}
    one = Plan(plan.items[:2])
    server.requests.clear()
    assert sync(one, raw, known, limits).copied == 0
    assert server.requests == []


@needs_zip
def test_one_member_with_two_target_names_is_fetched_once(server, http, limits, tmp_path):
    plan = zipped(http, server, zip_archive(tmp_path, "a", CLIPS), ["v/c01.mp4"])
    twice = Plan([*plan.items, Item("media/w/again.mp4", plan.items[0].origin, "zip")])
    server.requests.clear()
    assert sync(twice, tmp_path / "raw", tmp_path / "known", limits).copied == 2
    assert len(server.requests) == 1
    assert contents(tmp_path / "raw/media") == dict.fromkeys(("v/c01.mp4", "w/again.mp4"), CLIPS["v/c01.mp4"])


def test_exceeding_the_disk_limit_is_refused_before_fetching(server, http, urls, limits, tmp_path):
    plan = whole(http, urls)
    server.requests.clear()
    with pytest.raises(FetchError, match=r"^0\.0 GB are planned, but the limit is 0\.0001 GB \(disk_gb\)$"):
        sync(plan, tmp_path / "raw", tmp_path / "known", replace(limits, disk_gb=0.0001))
    assert server.requests == []
    assert not (tmp_path / "raw").exists()


def test_the_disk_limit_applies_to_files_of_unknown_size(server, http, limits, tmp_path):
    series = TarSeries((http.file(server.put("a.tar", tar_archive(CLIPS))),))
    plan = Plan([Item(f"media/{path}", TarMember(series, path), "tar") for path in CLIPS])
    with pytest.raises(FetchError, match=r"exceeds the limit of 0\.0001 GB \(disk_gb\)"):
        sync(plan, tmp_path / "raw", tmp_path / "known", replace(limits, disk_gb=0.0001))
    assert 1 <= len(contents(tmp_path / "raw/media")) <= 2
    assert not (tmp_path / "raw/manifest.jsonl").exists()
    assert sync(plan, tmp_path / "raw", tmp_path / "known", limits).files == 12


def test_a_file_over_the_size_limit_is_refused(server, http, limits, tmp_path):
    plan = Plan(
        [Item("media/a.mp4", replace(http.file(server.put("a.mp4", noise(50_000))), size=None), "web")]
    )
    sync(plan, tmp_path / "raw", tmp_path / "known", replace(limits, file_gb=0.00001))
    assert missing(tmp_path / "raw") == {"a.mp4": ("unreadable", f"{server.url}/a.mp4: more than 1e-05 GB")}


def test_a_repeatedly_killed_download_resumes_with_the_same_result(tmp_path):
    """kill -9 in the middle of files: whole files stay and partial files are resumed."""
    program = """
import sys
from pathlib import Path
from openo3.fetch.http import Http
from openo3.fetch.limits import Limits
from openo3.fetch.plan import Item, Plan
from openo3.fetch.sync import sync
limits = Limits(threads=3, bandwidth_mb_s=1.5)
with Http(limits) as http:
    plan = Plan([Item("media/" + url.rsplit("/", 1)[1], http.file(url), "web") for url in sys.argv[2:]])
    sync(plan, Path(sys.argv[1]) / "raw", Path(sys.argv[1]) / "known", limits)
"""
    clips = {f"{n}.mp4": noise(400_000, n) for n in range(6)}
    with HubServer() as server:
        urls = [server.put(name, content) for name, content in clips.items()]
        command = [sys.executable, "-c", program, str(tmp_path), *urls]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        kills = 0
        while True:
            process = subprocess.Popen(command, env=environment)
            before = _held(tmp_path)
            while process.poll() is None and _held(tmp_path) < before + 500_000:
                time.sleep(0.01)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert not (tmp_path / "raw/manifest.jsonl").exists()
        assert process.returncode == 0
        assert kills >= 2
        assert contents(tmp_path / "raw/media") == clips
        # each kill re-reads at most what three connections had in flight
        assert server.sent() < 2_400_000 + kills * 3 * 300_000 + 100
    assert len(read_manifest(tmp_path / "raw")) == 6
    assert sorted(p.name for p in (tmp_path / "raw").iterdir()) == [
        "manifest.jsonl",
        "media",
        "missing.jsonl",
    ]


def _held(folder: Path) -> int:
    return sum(map(len, contents(folder / "raw").values()))


def test_unusual_file_names_are_preserved(server, http, limits, tmp_path):
    names = ["a@b:c d.mp4", "é ü 漢字.mp4", "100%25 & #1?.mp4", "x" * 240 + ".mp4", "'quote\".mp4"]
    items = []
    for name in names:
        server.put(name, name.encode())
        items.append(Item(f"media/{name}", http.file(f"{server.url}/{quote(name)}"), "web"))
    sync(Plan(items), tmp_path / "raw", tmp_path / "known", limits)
    assert contents(tmp_path / "raw/media") == {name: name.encode() for name in names}
    json.dumps(read_manifest(tmp_path / "raw"))


@needs_zip
def test_a_newer_archive_with_unchanged_members_reads_only_its_directory(server, http, limits, tmp_path):
    raw, known = tmp_path / "raw", tmp_path / "known"
    names = ["v/c03.mp4", "v/c04.mp4"]
    sync(zipped(http, server, zip_archive(tmp_path, "a", CLIPS), names), raw, known, limits)
    (tmp_path / "newer").mkdir()
    changed = CLIPS | {"v/c04.mp4": noise(40_004, 77), "v/new.mp4": noise(90_000)}
    plan = zipped(http, server, zip_archive(tmp_path / "newer", "a", changed), names)
    server.requests.clear()
    assert sync(plan, raw, known, limits).copied == 1
    assert server.sent() < 41_000
    assert contents(raw / "media") == {name: changed[name] for name in names}


def test_a_newer_commit_with_unchanged_files_fetches_nothing(server, http, limits, tmp_path):
    def plan() -> Plan:
        repo = HubRepo.open(http, "owner/name", None)
        return Plan([Item(f"media/{path}", file, "hub") for path, file in repo.files().items()])

    raw, known = tmp_path / "raw", tmp_path / "known"
    server.dataset("owner/name", CLIPS | {"a.json": b"[]"})
    sync(plan(), raw, known, limits)
    newest = server.dataset("owner/name", CLIPS | {"a.json": b"[1]"})
    assert sync(plan(), raw, known, limits).copied == 1
    assert all(newest in line["origin"] for line in read_manifest(raw).values())


def test_a_copy_under_a_second_name_counts_for_the_disk_limit(server, http, urls, limits, tmp_path):
    once = Plan([Item("media/a.mp4", replace(http.file(urls["v/c01.mp4"]), size=None), "web")])
    twice = Plan([*once.items, Item("media/b.mp4", once.items[0].origin, "web")])
    room = replace(limits, disk_gb=0.00006)  # one has 40 kB
    assert sync(once, tmp_path / "one", tmp_path / "known", room).files == 1
    with pytest.raises(FetchError, match=r"exceeds the limit of 6e-05 GB"):
        sync(twice, tmp_path / "two", tmp_path / "known2", room)


def test_a_truncated_unresumable_file_does_not_count_for_the_disk_limit(server, http, limits, tmp_path):
    series = TarSeries((http.file(server.put("a.tar", tar_archive(CLIPS))),))
    plan = Plan([Item("media/v/c01.mp4", TarMember(series, "v/c01.mp4"), "tar")])
    room = replace(limits, disk_gb=0.00006)
    raw = tmp_path / "raw"
    (raw / ".partial").mkdir(parents=True)
    digest = hashlib.sha256(plan.items[0].origin.identity.encode()).hexdigest()[:32]
    (raw / ".partial" / digest).write_bytes(bytes(30_000))
    assert sync(plan, raw, tmp_path / "known", room).copied == 1
    assert contents(raw / "media") == {"v/c01.mp4": CLIPS["v/c01.mp4"]}


def test_a_second_place_with_the_same_content_is_tried_when_the_first_fails(server, http, limits, tmp_path):
    files = {"a.mp4": CLIPS["v/c01.mp4"], "b.mp4": CLIPS["v/c01.mp4"]}
    commit = server.dataset("owner/name", files)
    repo = HubRepo.open(http, "owner/name", None)
    plan = Plan([Item(f"media/{path}", repo.files()[path], "hub") for path in files])
    server.files[f"/storage/{commit}/a.mp4"] = noise(40_001, 55)  # of the right size
    assert sync(plan, tmp_path / "raw", tmp_path / "known", limits).missing == 1
    assert contents(tmp_path / "raw/media") == {"b.mp4": CLIPS["v/c01.mp4"]}


def test_members_of_a_local_tar_that_changed_are_fetched_again(limits, tmp_path):
    raw, known = tmp_path / "raw", tmp_path / "known"

    def plan() -> Plan:
        series = TarSeries((LocalFile(tmp_path / "a.tar"),))
        return Plan([Item("media/v/c01.mp4", TarMember(series, "v/c01.mp4"), "tar")])

    for seed in (1, 2):
        (tmp_path / "a.tar").write_bytes(tar_archive({"v/c01.mp4": noise(40_001, seed)}))
        os.utime(tmp_path / "a.tar", ns=(seed, seed))
        assert sync(plan(), raw, known, limits).copied == 1
    assert contents(raw / "media") == {"v/c01.mp4": noise(40_001, 2)}


@pytest.mark.parametrize("weak", [True, False])
def test_a_file_without_a_strong_validator_restarts_and_is_never_mixed(server, http, limits, tmp_path, weak):
    server.weak, server.etags = weak, weak
    old, new = noise(60_000, 1), noise(60_000, 2)
    plan = Plan([Item("media/a.mp4", http.file(server.put("a.mp4", old)), "web")])
    server.spoil("/a.mp4", Break(30_000), Do(lambda: server.put("a.mp4", new)))
    assert sync(plan, tmp_path / "raw", tmp_path / "known", limits).copied == 1
    assert contents(tmp_path / "raw/media") == {"a.mp4": new}


@pytest.mark.parametrize("killed", [False, True])
def test_the_rest_of_a_file_without_its_version_is_not_appended(server, http, limits, tmp_path, killed):
    """The server ignores If-Range, and from some time on it gives no ETag."""
    server.if_range = False
    old, new = noise(60_000, 1), noise(60_000, 2)
    plan = Plan([Item("media/a.mp4", http.file(server.put("a.mp4", old)), "web")])

    def change() -> None:
        server.etags = False
        server.put("a.mp4", new)

    if killed:
        part = hashlib.sha256(plan.items[0].origin.identity.encode()).hexdigest()[:32]
        (tmp_path / "raw/.partial").mkdir(parents=True)
        (tmp_path / "raw/.partial" / part).write_bytes(old[:30_000])
        change()
    else:
        server.spoil("/a.mp4", Break(30_000), Do(change))
    assert sync(plan, tmp_path / "raw", tmp_path / "known", limits).copied == 1
    assert contents(tmp_path / "raw/media") == {"a.mp4": new}


def test_tar_members_without_a_strong_validator_come_from_one_version(server, http, limits, tmp_path):
    server.weak = True
    old = {f"c{n}.mp4": noise(40_000, n) for n in range(4)}
    new = {f"c{n}.mp4": noise(40_000, 50 + n) for n in range(4)}
    series = TarSeries((http.file(server.put("a.tar", tar_archive(old))),))
    plan = Plan([Item(f"media/{path}", TarMember(series, path), "tar") for path in old])
    server.spoil("/a.tar", Break(60_000), Do(lambda: server.put("a.tar", tar_archive(new))))
    sync(plan, tmp_path / "raw", tmp_path / "known", limits)
    found = contents(tmp_path / "raw/media")
    assert all(content in (old[path], new[path]) for path, content in found.items())
    assert found["c3.mp4"] == new["c3.mp4"]


def test_small_hub_files_are_checked_against_their_git_id(server, http, limits, tmp_path):
    server.lfs = False
    commit = server.dataset("o/n", {"a.mp4": noise(5000, 1), "b.mp4": noise(5000, 2)})
    files = HubRepo.open(http, "o/n", None).files()
    server.files[f"/storage/{commit}/a.mp4"] = noise(5000, 3)
    plan = Plan([Item(f"media/{path}", file, "hub") for path, file in files.items()])
    assert sync(plan, tmp_path / "raw", tmp_path / "known", limits).missing == 1
    [(path, (problem, detail))] = missing(tmp_path / "raw").items()
    assert (path, problem) == ("a.mp4", "unreadable")
    assert detail.endswith("damaged, its git ID is wrong")
