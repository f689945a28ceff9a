"""Corrections of a record: every one to a new draft, and to a row that the stages read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.annotations import stgr
from openo3.annotations.rejections import RowError
from openo3.core.schema import Task
from openo3.review.edits import Draft, applied, change, differences, marks
from tests.support.local_folder import rl_rows, sft_rows

GROUNDED = sft_rows()[0]
ITEM = {"in": "key_items", "idx": 1, "name": "wrench", "box": 0}
shares = st.floats(0, 1, allow_nan=False)


@pytest.mark.parametrize("row", [*sft_rows(), *rl_rows()], ids=lambda row: f"{row['id']}, {row['task']}")
def test_a_draft_without_a_correction_leaves_the_row_as_it_is(row: dict) -> None:
    draft = Draft.of(row)
    assert applied(row, draft) == row
    again = Draft.from_json(json.loads(json.dumps(draft.to_json())))
    assert again.to_json() == draft.to_json()
    assert applied(row, again) == row
    assert differences(draft, again) == []


def test_a_moved_box_takes_its_citation_along() -> None:
    draft = change(Draft.of(GROUNDED), {"do": "move_box", "at": ITEM, "to": [0.5, 0.25, 0.75, 0.9]})
    row = applied(GROUNDED, draft)
    assert row["key_items"]["1"]["wrench"] == [[0.5, 0.25, 0.75, 0.9]]
    assert row["key_items"]["2"] == GROUNDED["key_items"]["2"]
    assert "<obj>wrench</obj><box>[0.5,0.25,0.75,0.9]</box>at<t>1.0</t>s" in row["reasoning_process"]
    assert stgr.parse(row).reasoning == draft.reasoning
    assert [mark.follows for mark in marks(draft)] == [False, False, True]
    assert differences(Draft.of(GROUNDED), draft)[-1] == "the box of 'wrench' at key frame 1 changed"


def test_a_citation_that_says_something_else_stays() -> None:
    row = {**GROUNDED, "reasoning_process": "The <obj>wrench</obj><box>[0.5,0.5,0.9,0.9]</box>at<t>1.0</t>s."}
    draft = change(Draft.of(row), {"do": "move_box", "at": ITEM, "to": [0.1, 0.2, 0.4, 0.4]})
    assert draft.reasoning == row["reasoning_process"]
    cited = {"in": "reasoning", "claim": 0, "box": 0}
    moved = change(draft, {"do": "move_box", "at": cited, "to": [0.6, 0.5, 0.9, 0.9]})
    assert "<box>[0.6,0.5,0.9,0.9]</box>" in (moved.reasoning or "")
    assert moved.key_items == draft.key_items


@given(st.tuples(shares, shares, shares, shares))
def test_any_box_that_a_hand_draws_is_one_that_the_rules_know(box: tuple[float, ...]) -> None:
    draft = change(Draft.of(GROUNDED), {"do": "move_box", "at": ITEM, "to": list(box)})
    x1, y1, x2, y2 = draft.key_items[1]["wrench"][0]
    assert 0 <= x1 <= x2 <= 1
    assert 0 <= y1 <= y2 <= 1
    assert stgr.parse(applied(GROUNDED, draft)).key_items == draft.key_items


def test_boxes_of_pictures_are_written_in_pixels_again() -> None:
    row = sft_rows()[2]
    draft = change(
        Draft.of(row),
        {"do": "move_box", "at": {"in": "answer", "claim": 0, "box": 0}, "to": [0.5, 0.5, 0.75, 1.0]},
    )
    written = applied(row, draft)
    assert written["answer"] == "<obj>cup</obj><box>[32,24,48,48]</box>"
    assert written["reasoning_process"] == row["reasoning_process"]


def test_a_moved_key_frame_takes_its_citations_along_and_loses_its_picture() -> None:
    draft = change(Draft.of(GROUNDED), {"do": "set_time", "idx": 1, "time_s": 3.25})
    row = applied(GROUNDED, draft)
    assert [(frame["idx"], frame["time"]) for frame in row["key_frames"]] == [(2, 2.5), (1, 3.25)]
    assert "path" not in row["key_frames"][1]
    assert row["key_frames"][0] == GROUNDED["key_frames"][1]
    assert "at<t>3.25</t>s" in row["reasoning_process"]


@pytest.mark.parametrize("place", [1, 5])
def test_a_span_keeps_its_option(place: int) -> None:
    row = rl_rows()[place]
    draft = change(Draft.of(row), {"do": "set_span", "start_s": 3.5, "end_s": 0.5})
    sample = stgr.parse(applied(row, draft))
    assert sample.answer.startswith("From <t>0.5</t>s to <t>3.5</t>s")
    assert sample.answer.endswith("C") == (sample.task is Task.TEMPORAL_MCQ)


def test_an_answer_that_cannot_be_read_can_be_replaced() -> None:
    row = {**sft_rows()[1], "answer": "soon"}
    with pytest.raises(RowError):
        stgr.parse(row)
    draft = change(Draft.of(row), {"do": "set_span", "start_s": 1, "end_s": 2})
    assert stgr.parse(applied(row, draft)).answer == "From <t>1.0</t>s to <t>2.0</t>s"


def test_boxes_are_added_renamed_and_removed() -> None:
    draft = Draft.of(GROUNDED)
    draft = change(draft, {"do": "add_box", "name": "red cup", "box": [0.1, 0.1, 0.2, 0.2], "time_s": 3.0})
    assert [(frame.idx, frame.time_s) for frame in draft.key_frames] == [(1, 1), (2, 2.5), (3, 3)]
    draft = change(draft, {"do": "add_box", "name": "red cup", "box": [0.5, 0.5, 0.6, 0.6], "idx": 3})
    assert len(draft.key_items[3]["red cup"]) == 2
    draft = change(
        draft, {"do": "remove_box", "at": {"in": "key_items", "idx": 3, "name": "red cup", "box": 0}}
    )
    assert draft.key_items[3] == {"red cup": ((0.5, 0.5, 0.6, 0.6),)}
    draft = change(draft, {"do": "rename", "at": ITEM, "to": "spanner"})
    assert "<obj>spanner</obj>" in (draft.reasoning or "")
    draft = change(draft, {"do": "remove_frame", "idx": 3})
    assert set(draft.key_items) == {1, 2}
    draft = change(draft, {"do": "remove_box", "at": {"in": "reasoning", "claim": 0, "box": 0}})
    assert draft.reasoning == "The spanner is his."
    stgr.parse(applied(GROUNDED, draft))


@pytest.mark.parametrize(
    "asked",
    [
        None,
        [],
        {},
        {"do": "burn"},
        {"do": "move_box", "at": ITEM},
        {"do": "move_box", "at": ITEM, "to": [1, 2]},
        {"do": "move_box", "at": ITEM, "to": [0, 0, float("nan"), 1]},
        {"do": "move_box", "at": {"in": "x"}, "to": [0, 0, 1, 1]},
        {"do": "set_time", "idx": 9, "time_s": 1},
        {"do": "set_time", "idx": 1, "time_s": "soon"},
        {"do": "set_text", "in": "id", "to": "x"},
        {"do": "set_text", "in": "answer", "to": "x" * 60_000},
        {"do": "add_box", "name": "<b>", "box": [0, 0, 1, 1], "time_s": 1},
        {"do": "rename", "at": ITEM, "to": " "},
        {"do": "remove_frame", "idx": None},
        {"do": ["move_box"]},
        {"do": "set_text", "in": "answer", "to": "a\0"},
    ],
)
def test_what_is_no_correction_is_refused(asked: object) -> None:
    with pytest.raises(RowError):
        change(Draft.of(GROUNDED), asked)


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"question": 1, "answer": "", "key_frames": []},
        {"question": "", "answer": "", "key_frames": [1]},
        {"question": "", "answer": "", "key_items": {"x": {}}},
        {"question": "\ud800", "answer": ""},
        {"question": "", "answer": "", "key_items": {"1": {"a": [[0, 0, 1, 1]] * 501}}},
        {"question": "", "answer": "", "key_frames": [{"idx": 1, "time_s": 1}] * 501},
    ],
)
def test_what_is_no_draft_is_refused(given: object) -> None:
    with pytest.raises(RowError):
        Draft.from_json(given)


@pytest.mark.parametrize(
    "raw", [None, 1, "x", [], {}, {"task": 1, "source": None, "key_items": 3, "answer": []}]
)
def test_any_row_has_a_draft(raw: object) -> None:
    assert Draft.from_json(Draft.of(raw).to_json()) == Draft.of(raw)
