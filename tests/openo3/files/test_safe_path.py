import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.files.safe_path import Root, UnsafePath, relative


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("4jujhM5qhEc_00:00:39:000_00:01:24:700.mp4", "4jujhM5qhEc_00:00:39:000_00:01:24:700.mp4"),
        ("a clip @ home/é ☃.mp4", "a clip @ home/é ☃.mp4"),
        ("./a//b/./c.mp4", "a/b/c.mp4"),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
        ("~/x", "~/x"),
    ],
)
def test_unusual_names_are_accepted(text, path):
    assert relative(text) == path


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no file"),
        (".", "names no file"),
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("../secret", "climbs"),
        ("a/../../secret", "climbs"),
        ("a/..", "climbs"),
        ("..\\secret", "backslash"),
        ("C:\\x", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("\ud800", "Unicode"),
        ("é" * 128, "too long"),
        ("a/" * 1500, "too long"),
        ("/".join(["d" * 200] * 6)[:1101], "too long"),
        ("/".join(["漢" * 60] * 6), "too long"),
    ],
)
def test_paths_that_leave_their_root_are_refused(text, why):
    with pytest.raises(UnsafePath, match=why):
        relative(text)


@given(st.text())
def test_a_safe_path_stays_below_any_root_and_has_one_form(text):
    try:
        path = relative(text)
    except UnsafePath:
        return
    assert os.path.normpath(os.path.join("/top", path)).startswith("/top/")
    assert relative(path) == path


def test_links_are_followed_inside_the_root_only(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "a", outside):
        folder.mkdir(parents=True)
        (folder / "f").write_text("x")
    (root / "within").symlink_to("a/f")
    (root / "out").symlink_to(outside / "f")
    (root / "folder").symlink_to(outside)
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    looked = Root(root)
    assert looked.find("a/f").st_size == 1
    assert looked.find("within").st_size == 1
    assert looked.find("none") is None
    assert looked.find("a/f/g") is None
    assert looked.find("dangling") is None
    for path in ("out", "folder/f"):
        with pytest.raises(UnsafePath, match="a link leads out"):
            looked.find(path)
    for path in ("pipe", "a"):
        with pytest.raises(UnsafePath, match="no regular file"):
            looked.find(path)
    assert Root(root, trusted=lambda: [outside]).find("out").st_size == 1


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/f").write_text("x")
    (tmp_path / "link").symlink_to("real")
    assert Root(tmp_path / "link").find("f")
