"""NExT-GQA: questions and spans from two files, its numbers by hand, and its way to validated records."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.benchmarks import nextgqa
from openo3.benchmarks.nextgqa import NEXTGQA
from openo3.core.geometry import RELATIVE_1000
from openo3.files.artifacts import read_json, read_jsonl
from openo3.prompt_file import default_prompts
from stages import download, validate
from tests.support.local_folder import encode_clip

HEAD = "video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
TEXT = HEAD + "77,8,64,48,why did he bend,a ball,1,CW,to rest,a ball,x,y,z\n"
TEXT += '77,8,64,48,"when, then",x,2,TN,to rest,a ball,x,y,z\n'
TEXT += "77,8,64,48,how,nothing,3,CH,to rest,a ball,x,y,z\n"
SPANS = {"77": {"duration": 4, "fps": 2.0, "location": {"1": [[0.5, 1.5], [2.0, 9.0]], "2": [[1, 1]]}}}
RECORD = {
    "id": "77_1",
    "video_id": "77",
    "question": "why did he bend",
    "options": ["to rest", "a ball", "x", "y", "z"],
    "answer": "B",
    "group": "CW",
    "spans": [[0.0, 4.0], [6.0, 8.0]],
    "media": "videos/nextgqa/77.mp4",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    encode_clip(own / "nextgqa/1201/77.mp4")
    (own / "NExT-GQA").mkdir()
    (own / "NExT-GQA/test.csv").write_text(TEXT)
    (own / "NExT-GQA/gsub_test.json").write_text(json.dumps(SPANS))
    return own


def result(which: str, when: str) -> dict:
    return NEXTGQA.result(RECORD, {"which": which, "when": when}, RELATIVE_1000)


def test_questions_get_their_spans(folder):
    first, second, third = NEXTGQA.rows(folder / "NExT-GQA")
    assert NEXTGQA.parse(first) == RECORD | {"spans": [[0.5, 1.5], [2.0, 9.0]]}
    assert NEXTGQA.parse(second)["question"] == "when, then"
    with pytest.raises(RowError) as error:
        NEXTGQA.parse(third)
    assert error.value.reason is Reason.UNKNOWN_OPTION


def test_two_prompts():
    asked = NEXTGQA.questions(RECORD, RELATIVE_1000, default_prompts())
    assert list(asked) == ["which", "when"]
    assert "B. a ball" in asked["which"]
    assert "why did he bend" in asked["when"]


def test_numbers_by_hand():
    results = [
        result("B", "from 1 to 3"),  # inside: IoP 1, IoU 1/2
        result("B", "from 5 to 9"),  # IoP 1/2 and IoU 1/2 with the second
        result("A", "from 0 to 4"),
        result("B", "from 8 to 12"),
        result("B", "never"),
        result("B", "from 7 to 7"),  # a point
    ]
    scores = NEXTGQA.score(results)
    assert scores["Acc@QA"] == pytest.approx(5 / 6)
    assert scores["Acc@GQA"] == pytest.approx(3 / 6)
    assert scores["mIoP"] == pytest.approx((1 + 0.5 + 1 + 0 + 0 + 1) / 6)
    assert scores["mIoU"] == pytest.approx((0.5 + 0.5 + 1 + 0 + 0 + 0) / 6)
    assert (scores["IoP@0.5"], scores["IoU@0.5"], scores["n"]) == (4 / 6, 3 / 6, 6)


@given(st.text(), st.text())
def test_any_completions_give_a_score(which, when):
    assert 0 <= NEXTGQA.score([result(which, when)])["Acc@GQA"] <= 1


@pytest.mark.parametrize(
    ("name", "text"), [("test.csv", "a,b\n1,2\n"), ("gsub_test.json", "[]"), ("gsub_test.json", "{")]
)
def test_a_file_of_another_form_is_one_error(folder, name, text):
    (folder / "NExT-GQA" / name).write_text(text)
    with pytest.raises(AnnotationError, match=name):
        list(nextgqa.rows(folder / "NExT-GQA"))


def test_from_a_folder_to_validated_records(folder, tmp_path):
    download.run(download.Params(source="local", path=str(folder)), tmp_path)
    validate.run(validate.Params(max_rejected_share=0.5), tmp_path)
    first, second = read_json(tmp_path / "data/validated/bench/nextgqa.json")
    assert (first["spans"], second["spans"]) == ([[0.5, 1.5], [2.0, 4.0]], [[1, 1]])
    assert NEXTGQA.check(first) == first
    notes = list(read_jsonl(tmp_path / "data/validated/clipped.jsonl"))
    assert [(note["id"], note["field"]) for note in notes] == [("77_1", "spans[1]"), ("77_2", "spans[0]")]
