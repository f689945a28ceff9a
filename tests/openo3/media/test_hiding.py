"""Areas of boxes, what is painted over them, and random areas of the same size."""

import numpy as np
import pytest
from PIL import Image

from openo3.media.hiding import GREY, area_of, elsewhere, hide, only

SIZE = (64, 48)


def gradient() -> np.ndarray:
    """[48, 64, 3], rising by 2 a column and 1 a row."""
    across, down = np.meshgrid(np.arange(64), np.arange(48))
    return np.stack([2 * across + down, across + 40, down + 90], axis=-1).astype(np.uint8)


def test_an_area_holds_the_whole_box_and_its_margin() -> None:
    assert area_of((0.25, 0.25, 0.5, 0.5), SIZE) == (16, 12, 32, 24)
    assert area_of((0.26, 0.26, 0.49, 0.49), SIZE) == (16, 12, 32, 24)
    assert area_of((0.25, 0.25, 0.5, 0.5), SIZE, margin=0.25) == (12, 9, 36, 27)
    assert area_of((0.25, 0.25, 0.5, 0.5), SIZE, margin=0.001) == (15, 11, 33, 25)  # a pixel at least
    assert area_of((-3.0, 0.5, 0.5, 7.0), SIZE, margin=0.1) == (0, 21, 36, 48)


@pytest.mark.parametrize("box", [(0.5, 0.2, 0.5, 0.9), (0.6, 0.2, 0.5, 0.9), (1.2, 0.1, 1.5, 0.4)])
def test_a_box_of_nothing_in_the_frame_has_no_area(box: tuple[float, float, float, float]) -> None:
    assert area_of(box, SIZE, margin=0.1) is None


@pytest.mark.parametrize("area", [(20, 10, 40, 30), (0, 10, 20, 30), (50, 30, 64, 48)], ids=str)
def test_a_hidden_object_gives_way_to_the_background(area: tuple[int, int, int, int]) -> None:
    """Painted over from its border, a smooth background goes on; at the picture's edge less exactly so."""
    background = gradient()
    with_object = background.copy()
    left, top, right, bottom = area
    with_object[top:bottom, left:right] = (250, 0, 0)
    found = np.asarray(hide(Image.fromarray(with_object), [area]))
    away = np.abs(found.astype(int) - background).max()
    inside = left > 0 and top > 0 and right < 64 and bottom < 48
    assert away <= (6 if inside else 40)
    outside = np.ones((48, 64), dtype=bool)
    outside[top:bottom, left:right] = False
    assert np.array_equal(found[outside], background[outside])


def test_grey_and_a_whole_picture_are_grey() -> None:
    picture = Image.fromarray(gradient())
    assert np.asarray(hide(picture, [(5, 5, 9, 9)], "grey"))[6, 6].tolist() == list(GREY)
    assert set(map(tuple, np.asarray(hide(picture, [(0, 0, *SIZE)])).reshape(-1, 3))) == {GREY}


def test_the_surroundings_are_not_changed_by_an_object_that_sticks_out() -> None:
    """A red object of 20 x 20 pixels, hidden by an area that is too small for it."""
    pixels = np.full((48, 64, 3), 60, dtype=np.uint8)
    pixels[10:30, 20:40] = (250, 0, 0)
    area = (22, 12, 38, 28)
    smeared, plain = (
        np.asarray(hide(Image.fromarray(pixels), [area], fill))[12:28, 22:38]
        for fill in ("border", "surroundings")
    )
    assert (plain == 60).all()
    assert smeared[..., 0].min() > 200


def test_only_the_areas_stay() -> None:
    picture = gradient()
    found = np.asarray(only(Image.fromarray(picture), [(4, 6, 10, 12), (30, 30, 40, 41)]))
    shown = np.zeros((48, 64), dtype=bool)
    shown[6:12, 4:10] = shown[30:41, 30:40] = True
    assert np.array_equal(found[shown], picture[shown])
    assert set(map(tuple, found[~shown])) == {GREY}


def test_a_random_area_is_as_large_and_elsewhere() -> None:
    area = (10, 10, 30, 26)
    rng = np.random.default_rng(0)
    found = [elsewhere(area, SIZE, rng) for _ in range(50)]
    assert {(right - left, bottom - top) for left, top, right, bottom in found} == {(20, 16)}
    assert all(left >= 0 and top >= 0 and right <= 64 and bottom <= 48 for left, top, right, bottom in found)
    for left, top, right, bottom in found:
        assert right <= 10 or left >= 30 or bottom <= 10 or top >= 26
    assert len(set(found)) > 30
    again = np.random.default_rng(0)
    assert found == [elsewhere(area, SIZE, again) for _ in range(50)]


def test_an_area_that_fits_nowhere_else_overlaps_as_little_as_was_tried() -> None:
    area = (0, 0, 60, 48)
    found = elsewhere(area, SIZE, np.random.default_rng(0))
    assert found[2] - found[0] == 60
    assert found[0] >= 3  # of the five places the last ones overlap least
    assert elsewhere((0, 0, *SIZE), SIZE, np.random.default_rng(0)) == (0, 0, *SIZE)
