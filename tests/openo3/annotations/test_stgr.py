import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.annotations import stgr
from openo3.annotations.rejections import Reason, RowError
from openo3.core.answers import canonical_answer
from openo3.core.schema import KeyFrame, Sample, Task
from tests.support import local_folder

SFT = {row["id"]: row for row in local_folder.sft_rows()}
RL = {row["id"]: row for row in local_folder.rl_rows()}


def test_a_temporal_spatial_row_is_parsed():
    sample = stgr.parse(SFT["ts"])
    assert sample == Sample(
        id="ts",
        task=Task.TEMPORAL_SPATIAL,
        source="local",
        question="What does the man pick up?",
        answer="a wrench",
        media=f"videos/local/videos/{local_folder.CLIP}",
        key_frames=(KeyFrame(1, 1.0, "videos/local/kfs/k1.jpg"), KeyFrame(2, 2.5, "videos/local/kfs/k1.jpg")),
        key_items={1: {"wrench": ((0.1, 0.2, 0.3, 0.4),)}, 2: {"wrench": ((0.0, 0.2, 1.0, 1.0),)}},
        reasoning="The <obj>wrench</obj><box>[0.1,0.2,0.3,0.4]</box>at<t>1.0</t>s is his.",
    )


def test_pixel_boxes_are_normalised_in_answer_and_reasoning():
    sample = stgr.parse(SFT["image"])
    assert sample.answer == "<obj>cup</obj><box>[0.25,0.25,0.5,0.5]</box>"
    assert sample.reasoning == "I see a <obj>cup</obj><box>[0.25,0.25,0.5,0.5]</box>."
    assert (sample.media, sample.size) == ("videos/local/images/im:1.jpg", (64, 48))


def test_the_temporal_answer_format_of_either_file_is_parsed():
    span = "From <t>1.0</t>s to <t>3.5</t>s"
    assert stgr.parse(SFT["when"]).answer == stgr.parse(RL["when"]).answer == span
    assert stgr.parse(RL["when+choice"]).answer == "From <t>1.0</t>s to <t>2.0</t>s\nCorrect Option: C"
    assert stgr.parse(RL["when"]).reasoning is None


def test_fields_not_needed_by_a_task_may_be_absent_null_or_empty():
    row = {k: v for k, v in SFT["free"].items() if k not in ("image_size", "key_frames", "key_items")}
    assert stgr.parse(row) == stgr.parse(SFT["free"])
    nulls = dict.fromkeys(("image_size", "key_frames", "key_items", "image_path"))
    assert stgr.parse(row | nulls) == stgr.parse(row)
    assert stgr.parse(row | {"image_size": [], "id": 7}).id == "7"


BROKEN = [
    ("ts", {"task": "poetry"}, Reason.UNKNOWN_TASK, "task"),
    ("ts", {"task": "where"}, Reason.UNKNOWN_TASK, "task"),  # derived from rows, never one
    ("ts", {"task": ["temporal QA"]}, Reason.WRONG_TYPE, "task"),
    ("ts", {"source": "elsewhere"}, Reason.UNKNOWN_SOURCE, "source"),
    ("ts", {"source": None}, Reason.FIELD_MISSING, "source"),
    ("ts", {"source": "gqa"}, Reason.NO_SUCH_MEDIA, "video_path"),
    ("ts", {"id": None}, Reason.FIELD_MISSING, "id"),
    ("ts", {"id": {"a": 1}}, Reason.WRONG_TYPE, "id"),
    ("ts", {"question": 3}, Reason.WRONG_TYPE, "question"),
    ("ts", {"question": "x" * 10_000_000}, Reason.TOO_LONG, "question"),
    ("ts", {"question": "\ud800"}, Reason.NOT_TEXT, "question"),
    ("ts", {"answer": " \n"}, Reason.EMPTY_ANSWER, "answer"),
    ("ts", {"video_path": None}, Reason.FIELD_MISSING, "video_path"),
    ("ts", {"video_path": "../../etc/passwd"}, Reason.UNSAFE_PATH, "video_path"),
    ("ts", {"video_path": "/etc/passwd"}, Reason.UNSAFE_PATH, "video_path"),
    ("ts", {"video_path": "a\\..\\b"}, Reason.UNSAFE_PATH, "video_path"),
    ("ts", {"video_path": "a\0.mp4"}, Reason.NOT_TEXT, "video_path"),
    (
        "ts",
        {"key_frames": [{"idx": 1, "time": 1, "path": "../k.jpg"}]},
        Reason.UNSAFE_PATH,
        "key_frames.path",
    ),
    ("ts", {"key_frames": {"idx": 1}}, Reason.WRONG_TYPE, "key_frames"),
    ("ts", {"key_frames": [3]}, Reason.WRONG_TYPE, "key_frames[0]"),
    ("ts", {"key_frames": [{"idx": 1}]}, Reason.FIELD_MISSING, "key_frames[0].time"),
    ("ts", {"key_frames": [{"idx": "1", "time": 1}]}, Reason.WRONG_TYPE, "key_frames[0].idx"),
    ("ts", {"key_frames": [{"idx": 1, "time": "1"}]}, Reason.WRONG_TYPE, "key_frames[0].time"),
    ("ts", {"key_frames": [{"idx": 1, "time": float("nan")}]}, Reason.NOT_FINITE, "key_frames[0].time"),
    ("ts", {"key_items": [1]}, Reason.WRONG_TYPE, "key_items"),
    ("ts", {"key_items": {"one": {}}}, Reason.WRONG_TYPE, 'key_items."one"'),
    ("ts", {"key_items": {"1" * 5000: {}}}, Reason.WRONG_TYPE, f'key_items."{"1" * 76}...'),
    ("ts", {"key_items": {"1": {}, "01": {}}}, Reason.WRONG_TYPE, 'key_items."01"'),
    ("ts", {"key_items": {"1": {"a\0b": []}}}, Reason.NOT_TEXT, 'key_items."1"'),
    ("ts", {"key_items": {"1": [1]}}, Reason.WRONG_TYPE, 'key_items."1"'),
    ("ts", {"key_items": {"1": {"cup": [0.1, 0.2, 0.3, 0.4]}}}, Reason.WRONG_TYPE, 'key_items."1"."cup"'),
    ("ts", {"key_items": {"1": {"cup": [[0.1, 0.2, 0.3]]}}}, Reason.WRONG_TYPE, 'key_items."1"."cup"'),
    (
        "ts",
        {"key_items": {"1": {"cup": [[0.1, 0.2, 0.3, float("inf")]]}}},
        Reason.NOT_FINITE,
        'key_items."1"."cup"',
    ),
    ("ts", {"reasoning_process": ["a"]}, Reason.WRONG_TYPE, "reasoning_process"),
    ("when", {"answer": "soon"}, Reason.BAD_ANSWER, "answer"),
    ("when", {"answer": "[4.0, 1.0]"}, Reason.BAD_ANSWER, "answer"),
    ("when", {"answer": "[1.0, nan]"}, Reason.BAD_ANSWER, "answer"),
    ("when", {"answer": [1.0, 4.0]}, Reason.WRONG_TYPE, "answer"),
    ("when", {"task": "temporal QA (MCQ)"}, Reason.BAD_ANSWER, "answer"),
    ("image", {"answer": "a cup"}, Reason.BAD_ANSWER, "answer"),
    ("image", {"answer": "<box>[1,2,3]</box>"}, Reason.BAD_ANSWER, "answer"),
    ("image", {"image_size": None}, Reason.FIELD_MISSING, "image_size"),
    ("image", {"image_size": [64]}, Reason.WRONG_TYPE, "image_size"),
    ("image", {"image_size": [64, 0]}, Reason.WRONG_TYPE, "image_size"),
    ("image", {"image_size": "64x48"}, Reason.WRONG_TYPE, "image_size"),
    ("image", {"image_path": None, "video_path": "a.mp4"}, Reason.FIELD_MISSING, "image_path"),
]


@pytest.mark.parametrize(("row", "fields", "reason", "field"), BROKEN)
def test_each_defect_has_its_reason(row, fields, reason, field):
    with pytest.raises(RowError) as error:
        stgr.parse(SFT[row] | fields)
    assert (error.value.reason, error.value.field) == (reason, field)


@pytest.mark.parametrize("raw", [None, 3, "row", [], [SFT["ts"]]])
def test_a_row_that_is_not_an_object_is_refused(raw):
    with pytest.raises(RowError) as error:
        stgr.parse(raw)
    assert error.value.reason is Reason.NOT_OBJECT


def test_references_list_the_media_and_the_key_frame_images():
    found = [(each.kind, each.media) for each in stgr.references(SFT["ts"])]
    assert found == [
        ("videos", f"videos/local/videos/{local_folder.CLIP}"),
        ("key_frames", "videos/local/kfs/k1.jpg"),
        ("key_frames", "videos/local/kfs/k1.jpg"),
    ]


NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(SFT)), st.dictionaries(st.sampled_from(sorted(SFT["ts"] | SFT["image"])), JSON))
def test_any_row_gives_a_sample_or_a_row_error(row, fields):
    try:
        sample = stgr.parse(SFT[row] | fields)
    except RowError:
        return
    assert Sample.from_json(json.loads(json.dumps(sample.to_json()))) == sample


@given(
    st.sampled_from([Task.TEMPORAL, Task.TEMPORAL_MCQ, Task.MCQ, Task.FREE_FORM]),
    st.floats(0, 1e4).map(lambda x: round(x, 3)),
    st.floats(0, 1e4).map(lambda x: round(x, 3)),
)
def test_a_canonical_answer_is_its_own_canonical_form(task, start, length):
    answers = {
        Task.TEMPORAL: f"[{start}, {start + length}]",
        Task.TEMPORAL_MCQ: f"C\n[{start}, {start + length}]",
        Task.MCQ: " B ",
        Task.FREE_FORM: f"about {start}\n",
    }
    once = canonical_answer(task, answers[task])
    assert canonical_answer(task, once) == once


@given(st.lists(st.integers(0, 64), min_size=4, max_size=4))
def test_normalised_texts_are_unchanged(box):
    text = f"<obj>cup</obj><box>{[value / 64 for value in box]}</box>at<t>1.0</t>s".replace(", ", ",")
    once = stgr.parse(SFT["ts"] | {"reasoning_process": text}).reasoning
    assert stgr.parse(SFT["ts"] | {"reasoning_process": once}).reasoning == once
