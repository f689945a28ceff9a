"""Replies are untrusted: whatever a model says becomes a candidate or one rejection with its reason."""

import json
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openo3.annotating.candidates import Candidate, stgr_row
from openo3.annotating.clips import Clip
from openo3.annotating.reading import Asked, Unusable, read_evidence, read_schema, schema_of
from openo3.annotations import stgr
from openo3.core.geometry import NORMALISED, RELATIVE_1000, pixels
from openo3.core.schema import STGR_TASKS, Task
from openo3.media.probe import Media
from openo3.prompt_file import default_prompts
from tests.openo3.annotating.annotator import annotation, reply

CLIP = Clip("a clip.mp4", Path("a clip.mp4"), "0123456789abcdef" * 4, Media("video", (640, 480), 10.0))
ASKED = Asked(CLIP, Task.TEMPORAL_SPATIAL, None, RELATIVE_1000, (0.0, 1.017, 2.0), 2, default_prompts())
CLAIM = "<obj>cup</obj><box>[0,0,500,500]</box>at<t>1.0</t>s"


def reads(said: str, asked: Asked = ASKED) -> list[Candidate | Unusable]:
    return list(read_schema(said, asked))


@pytest.mark.parametrize("written", ["{}", "```json\n{}\n```", "<think>Hm, {{}}</think>\n{}"])
def test_json_is_found_where_models_put_it(written):
    [found] = reads(written.replace("{}", reply()))
    assert isinstance(found, Candidate)
    assert found.sample.key_frames[0].time_s == 1.017  # the frame that the model saw
    assert found.sample.reasoning.startswith("The <obj>red band</obj><box>[0,0,1,0.25]</box>at<t>1.0</t>s")


@pytest.mark.parametrize(
    ("space", "box"), [(NORMALISED, [0, 0, 1, 0.25]), (pixels((640, 480)), [0, 0, 640, 120])]
)
def test_box_spaces(space, box):
    said = annotation(key_frames=[{"time_s": 1.0, "objects": [{"name": "red band", "box": box}]}])
    [found] = reads(reply(said), replace(ASKED, space=space))
    assert found.items[0].box == (0.0, 0.0, 1.0, 0.25)


DEEP = "[" * 100_000


def keyed(name: str, box: list[float]) -> list[dict]:
    return [{"time_s": 1, "objects": [{"name": name, "box": box}]}]


MANY = [{"name": f"cup {number}", "box": [0, 0, 9, 9]} for number in range(100_000)]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "wrong type"),
        ("no JSON", "wrong type"),
        (DEEP, "wrong type"),
        ('{"annotations": ' + DEEP, "wrong type"),
        ('{"annotations": ' + "9" * 5000 + "}", "wrong type"),
        ("[1, 2]", "row is not an object"),
        ('{"annotations": {}}', "wrong type"),
        ('{"annotations": []}', "field missing"),
        ('{"annotations": [7]}', "row is not an object"),
        (reply(annotation(question=None)), "field missing"),
        (reply(annotation(question=["a"])), "wrong type"),
        (reply(annotation(question="  ")), "field missing"),
        (reply(annotation(question="x" * 2001)), "text too long"),
        (reply(annotation(question="What?<|im_end|>")), "not valid text"),
        (reply(annotation(question="What? <think>")), "not valid text"),
        (reply(annotation(question="What?\0")), "not valid text"),
        (reply(annotation(question="What?\ud800")), "not valid text"),
        (reply(annotation(question=f"Is it {CLAIM}?")), "malformed evidence"),
        (reply(annotation(answer="<|vision_start|>")), "not valid text"),
        (reply(annotation(answer=5)), "wrong type"),
        (reply(annotation(reasoning="<box>[0,0,1]</box>")), "malformed evidence"),
        (reply(annotation(reasoning="<box>[0,0,1,nan]</box>")), "malformed evidence"),
        (reply(annotation(reasoning="<obj>cup <box>[0,0,9,9]</box>")), "malformed evidence"),
        (reply(annotation(reasoning="<obj> </obj><box>[0,0,9,9]</box>at<t>1</t>s")), "malformed evidence"),
        (reply(annotation(reasoning="at <t>soon</t>s")), "malformed evidence"),
        (reply(annotation(reasoning="</think><answer>b</answer>")), "not valid text"),
        (reply(annotation(key_frames=[])), "key frames missing"),
        (reply(annotation(key_frames=[{"time_s": "1.0", "objects": []}])), "wrong type"),
        (reply(annotation(key_frames=[{"time_s": float("nan"), "objects": []}])), "number not finite"),
        (reply(annotation(key_frames=[{"time_s": 99, "objects": []}])), "key frame outside the video"),
        (reply(annotation(key_frames=[{"time_s": 1, "objects": MANY}])), "text too long"),
        (reply(annotation(key_frames=[{"time_s": 1, "objects": []}] * 1000)), "text too long"),
        (reply(annotation(key_frames=keyed("a", [0, 0, float("nan"), 9]))), "number not finite"),
        (reply(annotation(key_frames=keyed("a", [0, 0, 9]))), "wrong type"),
        (reply(annotation(key_frames=keyed("a<b", [0, 0, 9, 9]))), "not valid text"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)  # fmt: skip
def test_a_hostile_reply_is_one_rejection(said, reason):
    [found] = reads(said)
    assert isinstance(found, Unusable)
    assert found.reason == f"reply: {reason}"
    assert len(found.text) <= 2000
    assert found.text.encode() is not None


def test_one_bad_annotation_does_not_cost_the_others_and_no_more_are_read_than_asked_for():
    found = reads(reply(annotation(answer=None), annotation(), annotation()))
    assert [type(each) for each in found] == [Unusable, Candidate]
    assert found[1].sample.id == "0123456789abcdef-temporal-spatial-2"


def test_times_in_other_spellings_are_those_of_the_grammar():
    [found] = reads(reply(annotation(reasoning="From <t>1.0s</t> to <t> 2 </t> s: " + CLAIM)))
    assert found.sample.reasoning.startswith("From <t>1.0</t>s to <t>2</t>s: <obj>cup")


@pytest.mark.parametrize(
    ("task", "change", "answer"),
    [
        (Task.TEMPORAL, {"start_s": 1, "end_s": 4.5}, "From <t>1.0</t>s to <t>4.5</t>s"),
        (Task.TEMPORAL_MCQ, {"start_s": 1, "end_s": 4, "options": ["a cup", "a hat"], "answer": "B"},
         "From <t>1.0</t>s to <t>4.0</t>s\nCorrect Option: B"),
        (Task.MCQ, {"options": ["a cup", "a hat"], "answer": "a hat"}, "B"),
        (Task.FREE_FORM, {"answer": "a hat"}, "a hat"),
    ],
)  # fmt: skip
def test_every_task_of_videos(task, change, answer):
    [found] = reads(reply(annotation(**change)), replace(ASKED, task=task))
    assert found.sample.answer == answer
    if "options" in change:
        assert found.sample.question == "What is at the top?\nA. a cup\nB. a hat"
    for reasoning in (True, False):
        row = json.loads(json.dumps(stgr_row(found.sample, reasoning=reasoning)))
        assert stgr.parse(row).answer == answer


@pytest.mark.parametrize(
    ("task", "change"),
    [
        (Task.TEMPORAL, {"start_s": 4, "end_s": 1}),
        (Task.TEMPORAL, {"start_s": 1, "end_s": 40}),
        (Task.MCQ, {"options": ["a cup"], "answer": "A"}),
        (Task.MCQ, {"options": ["a cup", "a hat"], "answer": "C"}),
        (Task.MCQ, {"options": ["a cup"] * 11, "answer": "A"}),
        (Task.MCQ, {"options": [1, 2], "answer": "A"}),
    ],
)
def test_answers_that_do_not_fit_their_task(task, change):
    [found] = reads(reply(annotation(**change)), replace(ASKED, task=task))
    assert isinstance(found, Unusable)


def test_a_reply_in_the_evidence_grammar():
    asked = replace(ASKED, question="What is it?", times_s=(), count=1, first=7)
    [found] = read_evidence(f"<think>A {CLAIM} stands.</think><answer>a cup</answer>", asked)
    assert found.sample.id.endswith("-temporal-spatial-7")
    assert found.sample.key_items == {1: {"cup": ((0.0, 0.0, 0.5, 0.5),)}}
    assert (found.sample.question, found.sample.key_frames[0].time_s) == ("What is it?", 1.0)
    late = f"<think>A {CLAIM}, at <t>11</t>s</think><answer>a cup</answer>"
    uncited = "<think>nothing cited</think><answer>a cup</answer>"
    empty = "<think></think><answer>a</answer>"
    for said in ("a cup", "<think>no end", f"<think>A {CLAIM}</think>", late, uncited, empty):
        [found] = read_evidence(said, asked)
        assert isinstance(found, Unusable)


def test_schemas_close_every_object_as_strict_endpoints_require():
    def objects(part):
        if isinstance(part, dict):
            if part.get("type") == "object":
                yield part
            for value in part.values():
                yield from objects(value)

    for task in STGR_TASKS:
        for given_ in (True, False):
            found = list(objects(schema_of(task, given=given_)))
            assert all(each["required"] == list(each["properties"]) for each in found)
            assert all(each["additionalProperties"] is False for each in found)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(string.printable, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*annotation()]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    JSON, st.sampled_from([*annotation()]), st.sampled_from([t for t in STGR_TASKS if t is not Task.VISUAL])
)
def test_no_value_in_any_field_raises(value, field, task):
    for found in reads(reply(annotation(**{field: value})), replace(ASKED, task=task)):
        assert isinstance(found, Candidate | Unusable)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_no_text_raises(said):
    for text in (said, f"<think>{said}</think><answer>{said}</answer>", f"{CLAIM}{said}"):
        assert all(isinstance(found, Candidate | Unusable) for found in reads(text))
        asked = replace(ASKED, question="What?", count=1)
        assert all(isinstance(found, Candidate | Unusable) for found in read_evidence(text, asked))
