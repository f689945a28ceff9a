"""Votes by hand."""

import pytest

from openo3.core.voting import Votes, elect, grouped, weight


def won(answers: str, relevance: list[int | None] | None = None) -> str | None:
    """The letter that wins among letters; a dot cannot be read."""
    groups = grouped([letter.strip(".") for letter in answers], str.__eq__)
    found = elect(groups, None if relevance is None else [weight(each) for each in relevance])
    return None if found.winner is None else answers[found.winner]


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        ("ABB", "B"),
        ("BAAB", "B"),  # a tie goes to the first given
        ("...C", "C"),  # what cannot be read has no vote
        ("..", None),  # and is never "A"
        ("", None),
    ],
)
def test_the_majority_wins(answers, winner):
    assert won(answers) == winner


@pytest.mark.parametrize(
    ("answers", "relevance", "winner"),
    [
        ("AAB", [0, 0, 2], "B"),
        ("AAB", [1, 1, 2], "A"),
        ("AAAB", [0, None, 0, 1], "A"),  # 0.2 three times is 0.6
        ("BAAA", [1, 0, None, 0], "B"),
        (".A", [2, None], "A"),
        (".", [2], None),
    ],
)
def test_relevant_evidence_outweighs_numbers(answers, relevance, winner):
    assert won(answers, relevance) == winner


def test_the_heaviest_answer_speaks_for_its_group():
    assert elect([0, 0, 2, 0], [0.2, 1.0, 0.6, 1.0]).winner == 1


def test_confidence_is_the_share_of_all_weight_unread_answers_included():
    assert elect([0, 0, 2, None]).confidence == 0.5
    assert elect([0, 0, 2], [0.2, 0.2, 0.6]).confidence == pytest.approx(0.6)
    assert elect([None, None]).confidence == 0


def test_impossible_votes():
    with pytest.raises(KeyError):
        weight(3)
    with pytest.raises(ValueError, match="zip"):
        elect([0, 1], [1.0])
    for impossible in ({"n": 0}, {"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match=f"{next(iter(impossible))} must be"):
            Votes(**impossible)
