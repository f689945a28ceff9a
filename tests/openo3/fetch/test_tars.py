import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc

import pytest

from openo3.fetch.limits import Limits
from openo3.fetch.plan import Unavailable
from openo3.fetch.random_access import LocalFile
from openo3.fetch.tars import TarSeries, members
from tests.support.archives import noise, tar_archive

MEMBERS = {f"images/a b@{n} é.jpg": noise(50_000, n) for n in range(8)}


def taken(series: TarSeries, paths: list[str], limits: Limits | None = None) -> dict[str, bytes | str]:
    found = {}
    for path, content in members(series, paths, limits or Limits()):
        found[path] = content.detail if isinstance(content, Unavailable) else content.read()
    return found


def local(tmp_path, *contents: bytes) -> TarSeries:
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.tar").write_bytes(content)
    return TarSeries(tuple(LocalFile(tmp_path / f"{number}.tar") for number in range(len(contents))))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_wanted_members_are_matched_by_the_end_of_their_path(tmp_path, mode):
    series = local(tmp_path, tar_archive(MEMBERS, mode))
    wanted = ["a b@2 é.jpg", "images/a b@5 é.jpg", "gone.jpg"]
    assert taken(series, wanted) == {
        "a b@2 é.jpg": MEMBERS["images/a b@2 é.jpg"],
        "images/a b@5 é.jpg": MEMBERS["images/a b@5 é.jpg"],
    }


def test_a_remote_tar_is_read_no_further_than_the_last_wanted_member(server, http):
    file = http.file(server.put("a.tar", tar_archive(MEMBERS | {"tail": noise(20_000_000)})))
    assert list(taken(TarSeries((file,)), ["images/a b@1 é.jpg"])) == ["images/a b@1 é.jpg"]
    assert server.sent() < 10_000_000  # the rest was in flight when the connection was closed


def test_several_tars_are_searched_one_after_the_other(tmp_path):
    series = local(tmp_path, tar_archive({"a": b"a"}), tar_archive({"b": b"b"}), b"never read")
    assert taken(series, ["a", "b"]) == {"a": b"a", "b": b"b"}


def special(kind: bytes, name: str = "x.mp4") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    return file.getvalue()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_devices_and_folders_are_refused(tmp_path, kind):
    found = taken(local(tmp_path, special(kind)), ["x.mp4"])
    assert found == {"x.mp4": f"{tmp_path}/0.tar#x.mp4: a link or device, not a file"}


@pytest.mark.parametrize("name", ["../x.mp4", "/x.mp4", "a/../../x.mp4", "a\\x.mp4"])
def test_members_outside_the_root_are_refused(tmp_path, name):
    assert taken(local(tmp_path, tar_archive({name: b"x"})), ["x.mp4"]) == {}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_tar_is_an_error(tmp_path, mode):
    content = tar_archive(MEMBERS, mode)
    with pytest.raises(Unavailable, match=r"0\.tar: damaged tar") as error:
        taken(local(tmp_path, content[: len(content) // 2]), ["images/a b@7 é.jpg"])
    assert error.value.problem == "unreadable"


def test_a_file_that_is_not_a_tar_is_an_error(tmp_path):
    with pytest.raises(Unavailable, match="damaged tar"):
        taken(local(tmp_path, b"<html>" * 1000), ["a"])


def test_a_member_declared_over_the_size_limit_is_refused(tmp_path):
    with pytest.raises(Unavailable, match=r"declares a member of 0\.0 GB, at most 0\.001"):
        taken(local(tmp_path, tar_archive({"bomb": bytes(2_000_000)}, "w:gz")), ["x"], Limits(file_gb=0.001))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_an_endless_header_is_not_read(tmp_path, kind):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, 2_000_000_000
    series = local(tmp_path, header.tobuf(tarfile.GNU_FORMAT) + b"x" * 4096)
    with pytest.raises(Unavailable, match="a header of 2,000,000,000 bytes"):
        taken(series, ["a.mp4"])


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_an_unwanted_decompression_bomb_ends_the_pass_early(tmp_path, mode):
    bomb = tar_archive({"bomb": bytes(50_000_000), "a.mp4": b"a"}, f"w:{mode}")
    assert len(bomb) < 100_000
    series = local(tmp_path, bomb)
    tracemalloc.start()
    with pytest.raises(Unavailable, match="unpacks to more than 100 times its packed size"):
        taken(series, ["a.mp4"])
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_concatenated_compressed_streams_are_one_archive(tmp_path, mode):
    packed = {"gz": gzip, "bz2": bz2, "xz": lzma}[mode].compress
    content = tar_archive(MEMBERS)
    series = local(tmp_path, packed(content[:70_000]) + packed(content[70_000:]))
    assert taken(series, list(MEMBERS)) == MEMBERS


def old_sparse(size: int) -> bytes:
    """The header of a GNU sparse member that stores nothing."""
    info = tarfile.TarInfo("big.mp4")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(header[:512])[0]
    return bytes(header)


def pax_sparse(**headers: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("big.mp4")
        info.pax_headers = {f"GNU.sparse.{name}": value for name, value in headers.items()}
        tar.addfile(info)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        old_sparse(1 << 60),
        pax_sparse(map="0,1", size="1000000"),
        pax_sparse(map="x", size="1"),
        pax_sparse(size="1152921504606846976"),
        pax_sparse(major="1", minor="0", realsize="1152921504606846976"),
    ],
    ids=["old", "0.1", "damaged map", "0.0", "1.0"],
)
def test_sparse_members_are_refused(tmp_path, content):
    with pytest.raises(Unavailable, match=r"0\.tar: damaged tar"):
        taken(local(tmp_path, content + bytes(1024)), ["big.mp4", "a.mp4"])


def test_a_member_beyond_the_end_of_the_archive_ends_the_pass(tmp_path):
    info = tarfile.TarInfo("big.mp4")
    info.size = 19_000_000_000
    with pytest.raises(Unavailable, match="damaged tar"):
        taken(local(tmp_path, info.tobuf(tarfile.GNU_FORMAT)), ["a.mp4"])


def test_thousands_of_headers_for_one_member_are_a_damaged_tar(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    series = local(tmp_path, (header.tobuf(tarfile.GNU_FORMAT) + b"a\0" + bytes(510)) * 3000)
    with pytest.raises(Unavailable, match="damaged tar"):
        taken(series, ["a"])
