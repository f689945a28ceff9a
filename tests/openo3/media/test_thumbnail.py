"""Thumbnails of good, damaged and hopeless files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openo3.media import thumbnail
from openo3.media.thumbnail import Moment, thumbnails
from tests.support.clips import clip, number


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    whole = clip(folder / "good.mp4", 60, 15).read_bytes()
    (folder / "noise.mp4").write_bytes(b"noise" * 999)
    zeroed = bytearray(whole)
    middle = (whole.index(b"mdat") + whole.index(b"moov")) // 2
    zeroed[middle : middle + 400] = bytes(400)
    (folder / "damaged.mp4").write_bytes(zeroed)
    still = Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 300, 3), np.uint8))
    still.save(folder / "still.jpg")
    content = (folder / "still.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    return folder


def test_each_file_gives_the_best_picture_that_it_has(folder):
    names = ("good.mp4", "damaged.mp4", "still.jpg", "cut.jpg", "noise.mp4", "absent.mp4")
    moments = {name: Moment(folder / name, 2.0) for name in names}
    found = thumbnails([*moments.values(), *moments.values()])
    assert {moment.path.name for moment in found} == {"good.mp4", "damaged.mp4", "still.jpg", "cut.jpg"}
    good, damaged = (found[moments[name]] for name in names[:2])
    assert (number(good.image()), good.time_s, good.instead) == (30, pytest.approx(2.0, abs=1e-3), "")
    assert (number(damaged.image()), damaged.instead) == (0, "the first frame")
    assert all(np.prod(each.image().size) <= thumbnail.PIXELS for each in found.values())
    half = np.asarray(found[moments["cut.jpg"]].image().convert("L"), float)
    assert half[: len(half) // 3].std() > 5 * half[-len(half) // 3 :].std(), "the rows that are there"


def test_a_moment_after_the_end_shows_the_last_frame(folder):
    late = Moment(folder / "good.mp4", 99.0)
    assert number(thumbnails([late])[late].image()) == 59


def test_no_time_left_gives_no_picture(folder, monkeypatch):
    monkeypatch.setattr(thumbnail, "ALL_LIMIT_S", 0.0)
    assert thumbnails([Moment(folder / "good.mp4")]) == {}
