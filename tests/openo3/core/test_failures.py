"""Kinds of failure, as functions of a question, its score and the texts."""

import pytest

from openo3.core.failures import failures_of
from openo3.core.prompts import choice, tvg_when, vstar_what, without_instruction

CLAIM = "<obj>cup</obj><box>[0,0,500,500]</box>at<t>1.0</t>s"
SPAN = "From <t>1.0</t>s to <t>2.0</t>s"


@pytest.mark.parametrize(
    ("kind", "score", "text", "prompt", "found"),
    [
        ("what", 1.0, f"<think>{CLAIM}</think><answer>cup</answer>", vstar_what("What?"), []),
        ("what", 0.0, f"<think>{CLAIM}</think><answer>ring</answer>", vstar_what("What?"), ["what"]),
        ("what", 0.0, "<think>It is</think><answer>ring</answer>", vstar_what("?"), ["what", "no-evidence"]),
        ("what", 1.0, "cup", without_instruction(vstar_what("What?")), []),
        ("what", 1.0, "cup", "What does <obj>name</obj> on the sign say?", []),
        ("what", 0.0, "<think>It goes on", vstar_what("What?"), ["unread"]),
        ("what", 0.0, "", vstar_what("What?"), ["unread"]),
        ("when", 0.49, f"<think>At <t>1.0</t>s</think><answer>{SPAN}</answer>", tvg_when("It?"), ["late"]),
        ("when", 0.5, f"<think>It is.</think><answer>{SPAN}</answer>", tvg_when("It?"), ["no-evidence"]),
        ("when_2", 0.0, "<think>a</think><answer>soon</answer>", tvg_when("It?"), ["unread"]),
        ("where", 0.2, '{"1": [0,0,10,10]}', "Where?", ["misplaced"]),
        ("where_2", 0.0, "to the left", "Where?", ["unread"]),
    ],
)
def test_a_failure_is_named_by_what_is_asked_and_how_it_fails(kind, score, text, prompt, found):
    assert [failure.key for failure in failures_of(kind, score, text, prompt)] == found


def test_a_choice_is_unread_where_no_option_or_more_than_one_is_named():
    prompt, options = choice("Which?", ["cup", "ring"]), ["cup", "ring"]
    keys = [
        [
            failure.key
            for failure in failures_of(
                "which", 0.0, f"<think>{CLAIM}</think><answer>{said}</answer>", prompt, options
            )
        ]
        for said in ("B", "A or B")
    ]
    assert keys == [["what"], ["unread"]]
