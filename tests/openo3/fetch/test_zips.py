import stat
import struct
import subprocess
import zipfile
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from openo3.fetch.limits import Limits
from openo3.fetch.plan import Unavailable
from openo3.fetch.random_access import LocalFile
from openo3.fetch.zips import ZipArchive
from tests.support.archives import needs_zip, noise, zip_archive

MEMBERS = {f"top/v/clip {n}@a_00:00:39:000 é.mp4": noise(9_000 + n, n) for n in range(30)}
MEMBERS |= {"top/notes.txt": b"all the same " * 4000, "top/empty": b""}


def opened(parts: list[Path]) -> ZipArchive:
    return ZipArchive.open(LocalFile(parts[-1]), lambda suffix: LocalFile(parts[-1].with_suffix(suffix)))


def unpacked(archive: ZipArchive) -> dict[str, bytes]:
    found = {}
    for member in archive.members:
        member.check(Limits())
        with archive.file.stream(member.start, member.end) as packed, member.open(packed) as content:
            found[member.path] = b"".join(iter(lambda content=content: content.read(5_000), b""))
    return found


def write(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes], **options) -> ZipArchive:
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in members:
            file.writestr(name, content)
    return opened([path])


@needs_zip
@pytest.mark.parametrize(
    "options", [(), ("-0",), ("-s", "64k"), ("-s", "64k", "-0"), ("-fz",), ("-fz", "-s", "64k")]
)
def test_every_member_written_by_the_zip_tool_is_read(tmp_path, options):
    parts = zip_archive(tmp_path, "a", MEMBERS, *options)
    assert (len(parts) > 4) == ("-s" in options)
    assert unpacked(opened(parts)) == MEMBERS


@needs_zip
def test_members_are_located_across_parts(tmp_path):
    parts = zip_archive(tmp_path, "a", {"big": noise(300_000), "small": b"x"}, "-s", "64k")
    archive = opened(parts)
    big = next(member for member in archive.members if member.path == "big")
    assert big.end - big.start > 300_000 > 64 * 1024
    assert unpacked(archive)["big"] == noise(300_000)


@needs_zip
def test_a_stored_member_can_be_read_from_its_middle(tmp_path):
    archive = opened(zip_archive(tmp_path, "a", MEMBERS, "-0", "-s", "64k"))
    for member in archive.members:
        assert member.resumable
        with member.open_from(member.size // 2) as content:
            assert (
                b"".join(iter(lambda c=content: c.read(999), b"")) == MEMBERS[member.path][member.size // 2 :]
            )


def test_an_archive_with_more_than_65535_members_is_read(tmp_path):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as file:
        for number in range(66_000):
            file.writestr(str(number), b"")
    assert len(opened([path]).members) == 66_000


def test_a_self_extracting_archive_is_read(tmp_path):
    path = tmp_path / "a.zip"
    write(path, ("a", b"aaa"), ("b", b"b" * 5000))
    path.write_bytes(b"#!/bin/sh unpack\n" * 9 + path.read_bytes())
    assert unpacked(opened([path])) == {"a": b"aaa", "b": b"b" * 5000}


@needs_zip
def test_a_missing_part_is_named(tmp_path):
    parts = zip_archive(tmp_path, "a", MEMBERS, "-s", "64k")
    parts[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.z02"):
        opened(parts)


@needs_zip
def test_the_last_part_alone_is_not_an_archive(tmp_path):
    parts = zip_archive(tmp_path, "a", MEMBERS, "-s", "64k")

    def none(suffix: str) -> LocalFile:
        raise ValueError("it is a split archive: set its packing to `split zip`")

    with pytest.raises(Unavailable, match=r"not a readable zip archive \(it is a split archive"):
        ZipArchive.open(LocalFile(parts[-1]), none)


@pytest.mark.parametrize("length", [0, 10, 200, 4000])
def test_a_truncated_archive_is_an_error(tmp_path, length):
    path = tmp_path / "a.zip"
    write(path, ("a", noise(5000)))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(Unavailable, match=r"a\.zip: not a readable zip archive") as error:
        opened([path])
    assert error.value.problem == "unreadable"


def test_an_archive_without_its_beginning_is_an_error(tmp_path):
    path = tmp_path / "a.zip"
    write(path, ("a", noise(5000)))
    path.write_bytes(path.read_bytes()[1000:])
    with pytest.raises(Unavailable):
        unpacked(opened([path]))


@pytest.mark.parametrize("at", [at for at in range(0, 22, 2) if at != 4])  # 4: the number of parts
def test_a_damaged_end_record_gives_a_reason(tmp_path, at):
    path = tmp_path / "a.zip"
    write(path, ("a", noise(500)))
    content = bytearray(path.read_bytes())
    content[len(content) - 22 + at : len(content) - 20 + at] = b"\xff\xfe"
    path.write_bytes(content)
    with suppress(Unavailable):
        assert unpacked(opened([path])) == {"a": noise(500)}


def test_a_damaged_member_is_detected_by_its_crc(tmp_path):
    path = tmp_path / "a.zip"
    write(path, ("a", b"some text " * 900), compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    content[45] ^= 1
    path.write_bytes(content)
    with pytest.raises((zipfile.BadZipFile, zlib.error)):
        unpacked(opened([path]))


def test_links_and_devices_are_refused(tmp_path):
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        info = zipfile.ZipInfo("link.mp4")
        info.external_attr = (kind | 0o777) << 16
        with pytest.raises(Unavailable, match="a link or device, not a file") as error:
            unpacked(write(tmp_path / f"{kind}.zip", (info, b"/etc/passwd")))
        assert error.value.problem == "unsafe"


def test_a_bomb_is_refused_by_its_declared_size(tmp_path):
    archive = write(tmp_path / "a.zip", ("bomb.mp4", bytes(30_000_000)), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(Unavailable, match=r"bomb\.mp4: unpacks to [\d,]+ times its packed size"):
        archive.members[0].check(Limits())
    with pytest.raises(Unavailable, match=r"0\.0 GB, at most 0\.01"):
        archive.members[0].check(Limits(file_gb=0.01))


def test_a_bomb_never_yields_more_than_its_declared_size(tmp_path):
    path = tmp_path / "a.zip"
    write(path, ("bomb.mp4", bytes(3_000_000)), compression=zipfile.ZIP_DEFLATED)
    path.write_bytes(path.read_bytes().replace(struct.pack("<L", 3_000_000), struct.pack("<L", 1000)))
    [member] = (archive := opened([path])).members
    with archive.file.stream(member.start) as packed:
        content = member.open(packed)
        with pytest.raises(zipfile.BadZipFile, match="CRC"):
            content.read(10**9)


def test_members_that_overlap_are_refused(tmp_path):
    archive = write(tmp_path / "a.zip", ("a", noise(5000)), ("b", b"b"))
    first = archive.members[0]
    with pytest.raises(Unavailable, match="overlaps another member"):
        replace(first, end=first.end - 100).check(Limits())


def test_encrypted_members_are_refused(tmp_path):
    archive = write(tmp_path / "a.zip", ("a", b"a"))
    archive.members[0].info.flag_bits |= 1
    with pytest.raises(Unavailable, match="encrypted"):
        archive.members[0].check(Limits())


@needs_zip
def test_split_members_agree_with_the_zip_tool(tmp_path):
    """Members fetched from the parts equal those that `zip -s 0` and Python's own reader extract."""
    parts = zip_archive(tmp_path, "a", MEMBERS, "-s", "64k")
    joined = tmp_path / "joined.zip"
    subprocess.run(["zip", "--quiet", "-s", "0", parts[-1], "--out", joined], check=True)
    with zipfile.ZipFile(joined, metadata_encoding="utf-8") as archive:
        assert {info.filename: archive.read(info) for info in archive.infolist()} == unpacked(opened(parts))
