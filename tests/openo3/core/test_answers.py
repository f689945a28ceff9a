"""Canonical answers from both published files."""

import pytest

from openo3.core.answers import canonical_answer, option_of
from openo3.core.schema import Task


@pytest.mark.parametrize(
    ("task", "raw", "canonical"),
    [
        (Task.TEMPORAL, "[1.0, 4.0]", "From <t>1.0</t>s to <t>4.0</t>s"),
        (Task.TEMPORAL, " [1,4.125] ", "From <t>1.0</t>s to <t>4.125</t>s"),
        (Task.TEMPORAL, "From <t>0</t>s to <t>4.5</t>s.", "From <t>0.0</t>s to <t>4.5</t>s"),
        (Task.TEMPORAL_MCQ, "C\n[12.0, 20.0]", "From <t>12.0</t>s to <t>20.0</t>s\nCorrect Option: C"),
        (Task.TEMPORAL_MCQ, "C\r\n[12.0, 20.0]", "From <t>12.0</t>s to <t>20.0</t>s\nCorrect Option: C"),
        (
            Task.TEMPORAL_MCQ,
            "From <t>12</t>s to <t>20</t>s\nCorrect Option: C",
            "From <t>12.0</t>s to <t>20.0</t>s\nCorrect Option: C",
        ),
        (Task.MCQ, " B\n", "B"),
        (Task.FREE_FORM, "It falls. ", "It falls."),
        (Task.TEMPORAL_SPATIAL, "a red cup", "a red cup"),
        (
            Task.VISUAL,
            "<obj>cup</obj><box>[12, 30, 48, 66]</box>",
            "<obj>cup</obj><box>[0.125,0.3125,0.5,0.6875]</box>",
        ),
    ],
)
def test_canonical_forms(task, raw, canonical):
    assert canonical_answer(task, raw, (96, 96)) == canonical
    if task is not Task.VISUAL:
        assert canonical_answer(task, canonical) == canonical


@pytest.mark.parametrize(
    ("task", "raw", "reason"),
    [
        (Task.MCQ, "  ", "is empty"),
        (Task.TEMPORAL, "[4.0, 1.0]", "start <= end"),
        (Task.TEMPORAL, "[NaN, 1.0]", "start <= end"),
        (Task.TEMPORAL, "[-1.0, 1.0]", "start <= end"),
        (Task.TEMPORAL, "[1.0]", "start <= end"),
        (Task.TEMPORAL, "__import__('os')", "start <= end"),
        (Task.TEMPORAL, "1" * 1_000_000, "start <= end"),
        (Task.TEMPORAL_MCQ, "[12.0, 20.0]", "no option"),
        (Task.TEMPORAL_MCQ, "C", "start <= end"),
        (Task.TEMPORAL_MCQ, "maybe\n[1.0, 2.0]", "no option"),
        (Task.VISUAL, "a cup", "no <box>"),
        (Task.VISUAL, "<box>[1,2,3]</box>", "no <box>"),
    ],
)
def test_answers_that_do_not_fit(task, raw, reason):
    with pytest.raises(ValueError, match=reason):
        canonical_answer(task, raw, (96, 96))


def test_pixels_need_a_size():
    with pytest.raises(ValueError, match="image_size"):
        canonical_answer(Task.VISUAL, "<box>[1,2,3,4]</box>")


def test_option():
    assert option_of("From ...\nCorrect Option: B") == "B"
    assert option_of("Correct Option: (B) Correct Option: C") == "(B)"
    assert option_of("B") == ""
