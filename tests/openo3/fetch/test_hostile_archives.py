"""Damaged and hostile archives: each gives a refused member or one line; other members are fetched."""

import io
import random
import struct
import zipfile
from pathlib import Path

import pytest

from openo3.fetch.limits import Limits
from openo3.fetch.plan import FetchError, Item, Plan, Unavailable
from openo3.fetch.random_access import LocalFile
from openo3.fetch.sync import sync
from openo3.fetch.tars import TarMember, TarSeries
from openo3.fetch.zips import ZipArchive
from openo3.files.artifacts import read_jsonl
from openo3.files.safe_path import UnsafePath, relative
from tests.support.archives import contents, noise, tar_archive

MEMBERS = {"v/a.mp4": noise(3000, 1), "v/b.mp4": b"some words " * 300, "v/c é.mp4": b"c"}
LIMITS = Limits(threads=2, tries=2, wait_s=0.01, file_gb=0.01)
MUTANTS = 100


def zip_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def fetch(folder: Path, content: bytes, is_zip: bool) -> dict[str, bytes]:
    """Fetch an archive and return its fetched members; asserts that the healthy file beside it is fetched."""
    path, healthy = folder / "archive", folder / "healthy"
    path.write_bytes(content)
    healthy.write_bytes(b"healthy")
    items = [Item("media/healthy", LocalFile(healthy), "local")]
    reasons: list[str] = []
    if is_zip:
        try:
            archive = ZipArchive.open(LocalFile(path), _no_part)
        except Unavailable as why:
            reasons.append(why.detail)
        else:
            for member in archive.members:
                try:
                    member.check(LIMITS)
                    items.append(Item(f"media/{relative(member.path)}", member, "zip"))
                except (Unavailable, UnsafePath) as why:
                    reasons.append(str(why))
    else:
        series = TarSeries((LocalFile(path),))
        items += [Item(f"media/{name}", TarMember(series, name), "tar") for name in MEMBERS]
    try:
        sync(Plan(items), folder / "raw", folder / "known", LIMITS)
    except FetchError as error:  # two members with one name
        if "would both be written there" not in str(error):
            raise
        return {}
    reasons += [line["detail"] for line in read_jsonl(folder / "raw/missing.jsonl")]
    assert all(reason and "\n" not in reason for reason in reasons)
    found = contents(folder / "raw/media")
    assert found.pop("healthy") == b"healthy"
    return found


def _no_part(suffix: str) -> LocalFile:
    raise ValueError("it is a split archive")


def test_intact_archives_are_fetched_whole(tmp_path):
    archives = [(zip_bytes(MEMBERS), True), (tar_archive(MEMBERS, "w:bz2"), False)]
    for number, (content, is_zip) in enumerate(archives):
        (tmp_path / str(number)).mkdir()
        assert fetch(tmp_path / str(number), content, is_zip) == MEMBERS


def test_a_damaged_bzip2_member_of_a_zip_affects_no_other(tmp_path):
    content = bytearray(zip_bytes({name: noise(2000, 3) for name in MEMBERS}, zipfile.ZIP_BZIP2))
    at = content.index(b"BZh", content.index(b"v/b.mp4"))
    content[at : at + 10] = b"x" * 10
    assert set(fetch(tmp_path, bytes(content), True)) == {"v/a.mp4", "v/c é.mp4"}


def test_a_member_without_a_name_affects_no_other(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipInfo, "is_dir", lambda info: False)  # it looks at the last character
        content = zip_bytes({"v/a.mp4": b"a", "": b"nameless"})
    assert fetch(tmp_path, content, True) == {"v/a.mp4": b"a"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\5\6" + bytes(18),
        b"PK\5\6" + b"\xff" * 18,
        zip_bytes(MEMBERS) + b"PK\5\6" + b"\xff" * 40,
        b"PK\6\7" + struct.pack("<LQL", 0, 2**64 - 1, 1) + b"PK\5\6" + b"\xff" * 16 + b"\0\0",
        b"PK\6\6" + b"\xff" * 52 + b"PK\6\7" + struct.pack("<LQL", 0, 0, 1) + b"PK\5\6" + bytes(18),
    ],
    ids=["nothing", "empty", "senseless end", "hidden end", "zip64 offset", "zip64 end"],
)
def test_zips_with_an_invalid_end_record_are_refused(tmp_path, content):
    assert fetch(tmp_path, content, True) == {}


def mutant(content: bytes, rng: random.Random) -> bytes:
    """Replace, duplicate or remove a few bytes, numbers or runs of an archive."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\0\0\0\x80", b"PK\5\6"))
            case 2:
                data[at : at + rng.randrange(1, 64)] = b""
            case 3:
                data[at:at] = data[at : at + rng.randrange(1, 600)]
            case 4:
                data[at:] = b"" if rng.random() < 0.2 else data[at:]
        data = data or bytearray(b"P")
    return bytes(data)


def with_checksums(tar: bytes) -> bytes:
    """Correct the checksum of each header, so that a mutant gets past it."""
    data = bytearray(tar)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2"])
def test_mutated_archives_do_not_stop_the_download(tmp_path, kind):
    rng = random.Random(kind)
    mode = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2"}.get(kind)
    for number in range(MUTANTS):
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
        content = mutant(tar_archive(MEMBERS, mode) if mode else zip_bytes(MEMBERS, method), rng)
        if kind == "tar" and rng.random() < 0.7:
            content = with_checksums(content)
        folder = tmp_path / str(number)
        folder.mkdir()
        found = fetch(folder, content, kind == "zip")
        if kind == "zip":  # a CRC tells: what comes is what was packed, under whatever name
            assert set(found.values()) <= {*MEMBERS.values(), b""}
