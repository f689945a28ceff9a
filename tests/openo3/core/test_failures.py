"""Kinds of failure, as functions of what is asked, the scores and the text."""

import pytest

from openo3.core.failures import failures_of

CLAIM = "<obj>cup</obj><box>[0,0,500,500]</box>at<t>1.0</t>s"
SPAN = "From <t>1.0</t>s to <t>2.0</t>s"
TUBE = '{"1": [0,0,10,10], "2": [0,0,10,10]}'


@pytest.mark.parametrize(
    ("scores", "text", "cites", "found"),
    [
        ({"what": 1.0}, f"<think>{CLAIM}</think><answer>cup</answer>", True, []),
        ({"what": 0.0}, f"<think>{CLAIM}</think><answer>ring</answer>", True, ["what"]),
        ({"what": 0.0}, "<think>It is</think><answer>ring</answer>", True, ["what", "no-evidence"]),
        ({"what": 1.0}, "cup", False, []),
        ({"what": 1.0}, "cup", True, ["no-evidence"]),
        ({"what": 0.0}, "<think>It goes on", True, ["unread"]),
        ({"what": 0.0}, "", True, ["unread"]),
        ({"when": 0.49}, f"<think>At <t>1.0</t>s</think><answer>{SPAN}</answer>", True, ["late"]),
        ({"when": 0.5}, f"<think>It is.</think><answer>{SPAN}</answer>", True, ["no-evidence"]),
        ({"when": 0.0}, "<think>a</think><answer>soon</answer>", True, ["unread"]),
        ({"where": 0.2}, TUBE, True, ["misplaced"]),
        ({"where": 0.0}, "to the left", True, ["unread"]),
        ({"when": 0.4, "where": 0.3}, TUBE, True, ["late", "misplaced"]),
        ({}, "a picture", True, []),
    ],
)
def test_a_failure_is_named_by_what_is_asked_and_how_it_fails(scores, text, cites, found):
    assert [failure.key for failure in failures_of(scores, text, cites=cites)] == found


def test_a_choice_is_unread_where_no_option_or_more_than_one_is_named():
    found = [
        failures_of({"what": 0.0}, f"<think>{CLAIM}</think><answer>{said}</answer>", options=["cup", "ring"])
        for said in ("B", "A or B")
    ]
    assert [[failure.key for failure in each] for each in found] == [["what"], ["unread"]]
