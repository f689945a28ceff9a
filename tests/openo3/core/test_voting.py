"""Votes by hand."""

import pytest

from openo3.core.voting import confident, majority


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        (["A", "B", "B"], "B"),
        (["B", "A", "A", "B"], "B"),  # a tie goes to the first given
        ([None, None, None, "C"], "C"),  # what cannot be read has no vote
        ([None, None], None),  # and is never "A"
        ([], None),
    ],
)
def test_majority(answers, winner):
    assert majority(answers) == winner


@pytest.mark.parametrize(
    ("answers", "relevance", "winner"),
    [
        (["A", "A", "B"], [0, 0, 2], "B"),
        (["A", "A", "B"], [1, 1, 2], "A"),
        (["A", "A", "A", "B"], [0, None, 0, 1], "A"),  # 0.2 three times is 0.6
        (["B", "A", "A", "A"], [1, 0, None, 0], "B"),
        ([None, "A"], [2, None], "A"),
        ([None], [2], None),
    ],
)
def test_confident(answers, relevance, winner):
    assert confident(answers, relevance) == winner


def test_impossible_votes():
    with pytest.raises(KeyError):
        confident(["A"], [3])
    with pytest.raises(ValueError, match="zip"):
        confident(["A", "B"], [1])
