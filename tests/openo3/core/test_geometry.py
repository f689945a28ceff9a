"""Overlap measures by property and by hand; conversions between coordinate spaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.core.geometry import NORMALISED, RELATIVE_1000, BoxSpace, box_iou, pixels, tiou

anything = st.floats(allow_nan=True, allow_infinity=True)
unit = st.floats(0, 1)
boxes = st.tuples(anything, anything, anything, anything)


@st.composite
def true_boxes(draw):
    (x1, x2), (y1, y2) = (sorted(draw(st.tuples(unit, unit))) for _ in range(2))
    return x1, y1, x2, y2


@given(boxes, boxes)
def test_iou_of_anything_is_a_share(a, b):
    assert 0 <= box_iou(a, b) <= 1


@given(true_boxes(), true_boxes())
def test_iou_is_symmetric(a, b):
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))


@given(true_boxes())
def test_iou_with_itself(box):
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert box_iou(box, box) == (1 if area > 0 else 0)


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 10, 10), (5, 5, 15, 15), 25 / 175),
        ((0, 0, 10, 10), (2, 2, 4, 4), 4 / 100),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0),
        ((0, 0, 10, 10), (8, 8, 2, 2), 0),  # inverted
        ((0, 0, 10, 10), (5, 5, 5, 9), 0),  # empty
    ],
)
def test_iou_by_hand(a, b, iou):
    assert box_iou(a, b) == pytest.approx(iou)


@given(st.tuples(anything, anything), st.tuples(anything, anything))
def test_tiou_of_anything_is_a_share(a, b):
    assert 0 <= tiou(a, b) <= 1


@given(st.tuples(unit, unit), st.tuples(unit, unit))
def test_tiou_is_symmetric(a, b):
    assert tiou(a, b) == tiou(b, a)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 4), (2, 6), 2 / 6),
        ((0, 10), (2, 4), 0.2),
        ((0, 1), (5, 6), 0),
        ((0, 4), (3, 1), 0),  # inverted
        ((2, 2), (2, 2), 0),  # no length
        ((1.5, 3), (1.5, 3), 1),
    ],
)
def test_tiou_by_hand(a, b, expected):
    assert tiou(a, b) == pytest.approx(expected)


def test_spaces_by_hand():
    box = (0.5, 0.25, 1.0, 0.75)
    assert pixels((200, 100)).from_normalised(box) == (100, 25, 200, 75)
    assert RELATIVE_1000.from_normalised(box) == (500, 250, 1000, 750)
    assert NORMALISED.from_normalised(box) == box
    assert pixels([200, 100]).to_normalised((100, 25, 200, 75)) == box
    assert RELATIVE_1000.to_normalised((500, 250, 1000, 750)) == box
    assert pixels((3, 3)).scaled((0.5, 0.5, 1, 1)) == (1.5, 1.5, 3, 3)


@given(st.tuples(*[st.integers(0, 4000)] * 4), st.tuples(*[st.integers(1, 4000)] * 2))
def test_whole_numbers_survive_the_round_trip(box, size):
    for space in (pixels(size), RELATIVE_1000):
        assert space.from_normalised(space.to_normalised(box)) == box
        assert space.from_normalised(NORMALISED.from_normalised(space.to_normalised(box))) == box


@pytest.mark.parametrize(("kind", "size"), [("pixels", None), ("relative_1000", (4, 4)), ("pixels", (0, 4))])
def test_impossible_spaces(kind, size):
    with pytest.raises(ValueError, match="box space"):
        BoxSpace(kind, size)
