import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from openo3.configuration import ConfigurationError
from openo3.fetch import sync as module
from openo3.fetch.limits import Limits
from openo3.fetch.manifest import read_manifest
from openo3.fetch.plan import FetchError, Item, Missing, Plan
from openo3.fetch.random_access import LocalFile
from openo3.fetch.sync import Summary, sync, to_fetch
from openo3.files.artifacts import read_jsonl


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    for name in ("a.mp4", "b/c @ é.mp4", "b/d.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    return folder


def plan(origin: Path, *names: str) -> Plan:
    names = names or ("a.mp4", "b/c @ é.mp4", "b/d.mp4")
    return Plan([Item(f"media/{name}", LocalFile(origin / name), "local") for name in names])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_files_are_copied_and_the_manifest_is_written(origin, tmp_path):
    missing = [Missing("videos/x.mp4", "local", "missing", "not in origin/")]
    done = sync(Plan(plan(origin).items, missing), tmp_path / "raw", tmp_path / "known")
    assert done == Summary(files=3, copied=3, removed=0, missing=1, copied_bytes=24_000)
    lines = list(read_jsonl(tmp_path / "raw/manifest.jsonl"))
    assert [line["path"] for line in lines] == ["media/a.mp4", "media/b/c @ é.mp4", "media/b/d.mp4"]
    assert lines[0]["size"] == 5000
    assert lines[0]["sha256"] == hashlib.sha256(b"a.mp4" * 1000).hexdigest()
    assert list(read_jsonl(tmp_path / "raw/missing.jsonl")) == [
        {"path": "videos/x.mp4", "source": "local", "problem": "missing", "detail": "not in origin/"}
    ]


def test_a_second_run_reads_and_copies_nothing(origin, tmp_path, monkeypatch):
    raw, known = tmp_path / "raw", tmp_path / "known"
    sync(plan(origin), raw, known)
    before = tree(raw)
    monkeypatch.setattr(module._Run, "_transfer", None)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert sync(plan(origin), raw, known).copied == 0
    assert tree(raw) == before


def test_missing_digests_cause_reading_but_no_copying(origin, tmp_path):
    sync(plan(origin), tmp_path / "raw", tmp_path / "known")
    for path in (tmp_path / "raw/media").rglob("*.mp4"):
        os.utime(path)  # like files that DVC checked out
    assert sync(plan(origin), tmp_path / "raw", tmp_path / "other").copied == 0


def test_changed_files_are_copied_and_stale_files_removed(origin, tmp_path):
    raw, known = tmp_path / "raw", tmp_path / "known"
    sync(plan(origin), raw, known)
    (origin / "a.mp4").write_bytes(b"A" * 5000)  # same size as before
    done = sync(plan(origin, "a.mp4", "b/d.mp4"), raw, known)
    assert (done.copied, done.removed) == (1, 1)
    assert tree(raw / "media") == {"a.mp4": b"A" * 5000, "b/d.mp4": b"b/d.mp4" * 1000}
    assert set(read_manifest(raw)) == {"media/a.mp4", "media/b/d.mp4"}
    sync(plan(origin, "a.mp4"), raw, known)
    assert not (raw / "media/b").exists()


def test_originals_are_kept_and_never_linked(origin, tmp_path):
    before = {p: (p.stat(), p.read_bytes()) for p in origin.rglob("*.mp4")}
    sync(plan(origin), tmp_path / "raw", tmp_path / "known")
    for path, (status, content) in before.items():
        now = path.stat()
        assert (now.st_ino, now.st_mode, now.st_mtime_ns, now.st_nlink) == (
            status.st_ino,
            status.st_mode,
            status.st_mtime_ns,
            1,
        )
        assert path.read_bytes() == content


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_links_into_the_cache_are_replaced_and_not_written_through(origin, tmp_path, link):
    raw, known, cache = tmp_path / "raw", tmp_path / "known", tmp_path / "cache"
    sync(plan(origin), raw, known)
    cache.mkdir()
    for path in list((raw / "media").rglob("*.mp4")):
        kept = cache / path.name
        path.rename(kept)
        kept.chmod(0o444)
        link(kept, path)
    before = tree(cache)
    assert sync(plan(origin), raw, known).copied == 0
    (origin / "a.mp4").write_bytes(b"new")
    assert sync(plan(origin, "a.mp4"), raw, known).copied == 1
    assert tree(cache) == before
    assert tree(raw / "media") == {"a.mp4": b"new"}


def test_a_file_name_of_maximal_length_is_copied(tmp_path):
    name = "é" * 125 + ".mp4"
    (tmp_path / name).write_bytes(b"x")
    sync(
        Plan([Item(f"media/{name}", LocalFile(tmp_path / name), "local")]),
        tmp_path / "raw",
        tmp_path / "known",
    )
    assert (tmp_path / "raw/media" / name).read_bytes() == b"x"


def test_the_next_run_completes_a_killed_one(origin, tmp_path):
    """Killed during the second of three copies: whole files stay, the partial one goes, no manifest."""
    raw, known = tmp_path / "raw", tmp_path / "known"
    program = f"""
import os, signal
from pathlib import Path
from openo3.fetch import sync as module
from openo3.fetch.random_access import LocalFile
from openo3.fetch.limits import Limits
from openo3.fetch.plan import Item, Plan
transfer, count = module._Run._transfer, 0
def killed(self, item, part, have, open_at):
    global count
    count += 1
    if count == 2:
        part.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return transfer(self, item, part, have, open_at)
module._Run._transfer = killed
origin = Path({str(origin)!r})
names = ("a.mp4", "b/c @ é.mp4", "b/d.mp4")
plan = Plan([Item(f"media/{{name}}", LocalFile(origin / name), "local") for name in names])
module.sync(plan, Path({str(raw)!r}), Path({str(known)!r}), Limits(threads=1))
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (raw / "manifest.jsonl").exists()
    assert list(tree(raw / "media")) == ["a.mp4"]
    again = sync(plan(origin), raw, known)
    assert (again.copied, again.removed) == (2, 0)
    assert not (raw / ".partial").exists()
    sync(plan(origin), tmp_path / "never killed", tmp_path / "known too")
    assert tree(raw) == tree(tmp_path / "never killed")


def test_the_manifest_is_absent_until_all_changes_are_done(origin, tmp_path, monkeypatch):
    raw, known = tmp_path / "raw", tmp_path / "known"
    sync(plan(origin), raw, known)
    (origin / "a.mp4").write_bytes(b"changed")
    monkeypatch.setattr(module._Run, "_transfer", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sync(plan(origin), raw, known)
    assert not (raw / "manifest.jsonl").exists()
    assert (raw / "media/a.mp4").read_bytes() == b"a.mp4" * 1000


def test_an_origin_that_changes_during_the_copy_is_detected(origin, tmp_path, monkeypatch):
    transfer = module._Run._transfer

    def changing(*arguments):
        digest = transfer(*arguments)
        (origin / "a.mp4").write_bytes(b"longer" * 2000)
        return digest

    monkeypatch.setattr(module._Run, "_transfer", changing)
    with pytest.raises(FetchError, match=r"a\.mp4: changed while it was copied"):
        sync(plan(origin, "a.mp4"), tmp_path / "raw", tmp_path / "known")
    assert not list((tmp_path / "raw").rglob("a.mp4"))


def test_insufficient_disk_space_is_an_error(origin, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: _Disk)
    with pytest.raises(FetchError, match="GB are free"):
        sync(plan(origin), tmp_path / "raw", tmp_path / "known")


class _Disk:
    free = 10


@pytest.mark.parametrize(("name", "value"), [("threads", 0), ("bandwidth_mb_s", -3.0), ("tries", 0)])
def test_invalid_limits_are_refused(name, value):
    with pytest.raises(ConfigurationError, match=rf"limits\.{name}: {value}, must be more than 0"):
        Limits(**{name: value})


def test_two_downloads_into_one_folder_are_refused(origin, tmp_path):
    """This holds whatever source each download uses."""
    with open(tmp_path / "raw.lock", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for known in ("digests-local.jsonl", "digests-published.jsonl"):
            with pytest.raises(FetchError, match=r"raw: another download is using this folder"):
                sync(plan(origin), tmp_path / "raw", tmp_path / known)
    assert sync(plan(origin), tmp_path / "raw", tmp_path / "known").copied == 3


def test_planning_does_not_disturb_a_running_download(origin, tmp_path):
    known = tmp_path / "known"
    sync(plan(origin), tmp_path / "raw", known)
    half = known.read_bytes() + b'{"identity": "half a li'
    known.write_bytes(half)
    assert to_fetch(plan(origin), tmp_path / "raw", known) == []
    assert known.read_bytes() == half


@pytest.mark.parametrize("name", ["known", "raw/manifest.jsonl"])
@pytest.mark.parametrize("damage", [b'{"path": "media/a.mp4", "si', b"\0" * 100, b"[1]\n", b"3\n"])
def test_damaged_notes_only_cause_files_to_be_read_again(origin, tmp_path, name, damage):
    raw, known = tmp_path / "raw", tmp_path / "known"
    sync(plan(origin), raw, known)
    before = tree(raw)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2] + damage)
    (tmp_path / "origin/e.mp4").write_bytes(b"new")
    names = ("a.mp4", "b/c @ é.mp4", "b/d.mp4", "e.mp4")
    assert sync(plan(origin, *names), raw, known).copied == 1
    now = tree(raw)
    assert now.pop("media/e.mp4") == b"new"
    assert {path for path in now if path.startswith("media")} == {p for p in before if p.startswith("media")}
    assert sync(plan(origin, *names), raw, known).copied == 0


def test_a_partial_folder_that_is_a_link_is_refused_and_its_target_keeps_its_files(origin, tmp_path):
    raw, outside = tmp_path / "raw", tmp_path / "outside"
    raw.mkdir()
    outside.mkdir()
    (outside / "thesis.tex").write_bytes(b"years of work")
    (raw / ".partial").symlink_to(outside)
    with pytest.raises(FetchError, match=r"raw/\.partial: is a link or a file"):
        sync(plan(origin), raw, tmp_path / "known")
    assert tree(outside) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize("kind", ["link", "folder", "other"])
def test_foreign_files_in_the_partial_folder_are_refused(origin, tmp_path, kind):
    raw, outside = tmp_path / "raw", tmp_path / "outside.txt"
    (raw / ".partial").mkdir(parents=True)
    outside.write_bytes(b"mine")
    item = raw / ".partial" / ("0" * 32 if kind != "other" else "notes.txt")
    if kind == "link":
        item.symlink_to(outside)
    elif kind == "folder":
        item.mkdir()
    else:
        item.write_bytes(b"mine")
    with pytest.raises(FetchError, match="was not written by download; move it away"):
        sync(plan(origin), raw, tmp_path / "known")
    assert outside.read_bytes() == b"mine"
    assert item.exists()


def test_files_not_written_by_a_run_are_kept_and_refused(origin, tmp_path):
    raw = tmp_path / "raw"
    sync(plan(origin), raw, tmp_path / "known")
    (raw / "media/own.mp4").write_bytes(b"mine")
    before = tree(raw)
    with pytest.raises(FetchError, match=r"media/own\.mp4: was not written by download \(1 such"):
        sync(plan(origin, "a.mp4"), raw, tmp_path / "known")
    assert tree(raw) == before


def test_files_behind_a_linked_root_folder_are_not_removed(origin, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/photo.jpg").write_bytes(b"mine")
    (tmp_path / "raw").symlink_to(tmp_path / "home")
    with pytest.raises(FetchError, match="was not written by download"):
        sync(plan(origin), tmp_path / "raw", tmp_path / "known")
    assert tree(tmp_path / "home") == {"photo.jpg": b"mine"}


def test_nothing_is_written_through_a_link_to_a_folder(origin, tmp_path):
    raw, outside = tmp_path / "raw", tmp_path / "outside"
    raw.mkdir()
    outside.mkdir()
    (raw / "media").symlink_to(outside)
    with pytest.raises(FetchError, match="raw/media: was not written by download"):
        sync(plan(origin), raw, tmp_path / "known")
    assert list(outside.iterdir()) == []


def test_files_that_a_killed_run_placed_are_removed_when_no_longer_wanted(origin, tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    with monkeypatch.context() as patch:
        patch.setattr(module._Run, "remove_partial", lambda self: 1 / 0)
        patch.setattr(module, "write_jsonl", lambda path, rows: None)
        with pytest.raises(ZeroDivisionError):
            sync(plan(origin), raw, tmp_path / "known")
    assert not (raw / "manifest.jsonl").exists()
    assert sync(plan(origin, "a.mp4"), raw, tmp_path / "known").removed == 2
    assert tree(raw / "media") == {"a.mp4": b"a.mp4" * 1000}
    assert not (raw / ".partial").exists()


def test_notes_and_locks_that_are_links_are_not_written_through(origin, tmp_path):
    notes, victim = tmp_path / "cache/known", tmp_path / "victim"
    notes.parent.mkdir()
    victim.write_bytes(b"mine")
    notes.symlink_to(victim)
    (tmp_path / "cache/raw.lock").symlink_to(tmp_path / "created")
    sync(plan(origin), tmp_path / "raw", notes)
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "created").exists()
    assert sync(plan(origin), tmp_path / "raw", notes).copied == 0


@pytest.mark.parametrize("target", ["../outside/pwn", "/tmp/pwn", "annotations/../../pwn", ".partial/x"])
def test_a_target_outside_of_the_folder_is_refused(origin, tmp_path, target):
    items = [Item(target, LocalFile(origin / "a.mp4"), "annotations")]
    with pytest.raises(FetchError, match="not a path inside the folder"):
        sync(Plan(items), tmp_path / "raw", tmp_path / "known")
    assert not (tmp_path / "raw").exists()


def test_a_target_below_another_file_is_refused_without_affecting_others(origin, tmp_path):
    names = {"d.mp4": "a.mp4", "d.mp4/e.mp4": "b/d.mp4", "f.mp4": "b/c @ é.mp4"}
    items = [Item(f"media/{name}", LocalFile(origin / file), "local") for name, file in names.items()]
    assert sync(Plan(items), tmp_path / "raw", tmp_path / "known").missing == 1
    [line] = read_jsonl(tmp_path / "raw/missing.jsonl")
    assert (line["path"], line["problem"]) == ("d.mp4/e.mp4", "unsafe")
    assert set(tree(tmp_path / "raw/media")) == {"d.mp4", "f.mp4"}


def test_two_files_with_one_target_are_refused(origin, tmp_path):
    items = [Item("annotations/x", LocalFile(origin / name), "annotations") for name in ("a.mp4", "b/d.mp4")]
    with pytest.raises(FetchError, match="would both be written there; rename one"):
        sync(Plan(items), tmp_path / "raw", tmp_path / "known")


@pytest.mark.parametrize("way", ["replaced", "overwritten"])
def test_an_original_of_the_same_size_and_time_is_copied_again(origin, tmp_path, way):
    raw, known = tmp_path / "raw", tmp_path / "known"
    sync(plan(origin), raw, known)
    file = origin / "a.mp4"
    status = file.stat()
    written = tmp_path / "other.mp4" if way == "replaced" else file
    written.write_bytes(b"A" * 5000)
    os.utime(written, ns=(status.st_atime_ns, status.st_mtime_ns))
    written.replace(file)
    assert sync(plan(origin), raw, known).copied == 1
    assert (raw / "media/a.mp4").read_bytes() == b"A" * 5000
    assert read_manifest(raw)["media/a.mp4"]["sha256"] == hashlib.sha256(b"A" * 5000).hexdigest()
