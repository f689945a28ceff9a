"""TVGBench: its question, answers of any text, its numbers by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.benchmarks import grounding, registry, tvgbench
from openo3.core.geometry import RELATIVE_1000

RECORD = {
    "path": "charades/X1.mp4",
    "question": "person opens the fridge",
    "answer": "2.0-6.0",
    "duration": 30.5,
}


def result(text):
    return tvgbench.TVGBENCH.result(RECORD, {"when": text}, RELATIVE_1000)


def test_question():
    assert list(tvgbench.TVGBENCH.questions(RECORD, RELATIVE_1000)) == ["when"]
    assert tvgbench.TVGBENCH.questions(RECORD, RELATIVE_1000)["when"].startswith("person opens the fridge\n")
    assert registry.get("tvgbench") is tvgbench.TVGBENCH


def test_numbers_by_hand():
    well = "<think>at <t>2</t>s and <t>6</t>s</think><answer>From <t>2.0</t>s to <t>6.0</t>s</answer>"
    results = [
        result(well),
        result("from 4 to 8"),
        result("from 0:02 to 0:04"),
        tvgbench.TVGBENCH.result(RECORD, {}, RELATIVE_1000),
    ]
    scores = tvgbench.TVGBENCH.score(results)
    assert grounding.tious(tvgbench.true_span, results) == pytest.approx([1, 2 / 6, 0.5, 0])
    assert scores["m_tIoU"] == pytest.approx((1 + 1 / 3 + 0.5) / 4)
    assert [scores[name] for name in ("R1@0.3", "R1@0.5", "R1@0.7")] == [0.75, 0.5, 0.25]
    assert (scores["format"], scores["n"]) == (0.25, 4)
    low, high = scores["intervals"]["m_tIoU"]
    assert low < scores["m_tIoU"] < high


@given(st.text())
def test_any_completion_gives_a_score(text):
    assert 0 <= tvgbench.TVGBENCH.score([result(text)])["m_tIoU"] <= 1
