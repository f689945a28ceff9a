"""Benchmarks with options: prompts, what counts as an answer, numbers by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.benchmarks import registry
from openo3.benchmarks.judges import RougeJudge
from openo3.benchmarks.videomme import VIDEOMME
from openo3.benchmarks.videommmu import VIDEOMMMU
from openo3.core.geometry import RELATIVE_1000
from openo3.prompt_file import default_prompts

RECORD = {
    "id": "001-1",
    "question": "What does she open?",
    "options": ["A fridge.", "A door."],
    "answer": "B",
    "group": "short",
    "media": "videos/videomme/m.mp4",
}
OPEN = RECORD | {"question": "How much?", "options": [], "answer": "3.43", "group": "Adaptation"}
GOOD = "<think>A <obj>door</obj><box>[1,2,3,4]</box>at<t>2.0</t>s</think><answer>{}</answer>"


def score(*pairs):
    """Records with what a model said to each."""
    results = [VIDEOMME.result(record, {"which": text}, RELATIVE_1000) for record, text in pairs]
    return VIDEOMME.score(VIDEOMME.rate(results, RougeJudge()))


def test_the_prompt_lists_the_options_and_asks_for_a_letter():
    assert registry.get("videomme") is VIDEOMME
    text = VIDEOMME.questions(RECORD, RELATIVE_1000, default_prompts())["which"]
    assert text.splitlines()[:3] == ["What does she open?", "A. A fridge.", "B. A door."]
    assert text.endswith("Answer with the letter only.")
    assert VIDEOMME.questions(OPEN, RELATIVE_1000, default_prompts())["which"].endswith("Answer in words.")


def test_videommmu_says_what_the_end_of_the_video_is():
    first = {
        track: VIDEOMMMU.questions(RECORD | {"group": track}, RELATIVE_1000, default_prompts())[
            "which"
        ].splitlines()[0]
        for track in ("Perception", "Comprehension", "Adaptation")
    }
    assert "not what is asked about" in first["Perception"] == first["Comprehension"]
    assert "at the end of the video" in first["Adaptation"]
    shown = RECORD | {"group": "Adaptation", "picture": "pictures/videommmu/1"}
    text = VIDEOMMMU.questions(shown, RELATIVE_1000, default_prompts())["which"]
    assert text.splitlines()[0] == "The picture that the question refers to follows the video."


def test_numbers_by_hand():
    one, two, three = ({**RECORD, "media": f"{name}.mp4"} for name in "abc")
    long = RECORD | {"group": "long", "answer": "A"}
    found = score((one, GOOD.format("B")), (two, "B. A door."), (three, "A"), (long, "neither"))
    assert (found["acc"], found["acc/short"], found["acc/long"]) == (0.5, pytest.approx(2 / 3), 0.0)
    assert (found["format"], found["n"]) == (0.25, 4)
    assert found["intervals"]["acc/long"] == [0.0, 0.0]
    low, high = found["intervals"]["acc"]
    assert low < 0.5 < high


def test_no_answer_and_two_answers_are_wrong_and_stay_in_the_denominator():
    results = [
        VIDEOMME.result(RECORD | {"answer": "A"}, said, RELATIVE_1000)
        for said in ({}, {"which": ""}, {"which": "option A or option B"}, {"which": "A man opens it"})
    ]
    assert [result["said"] for result in results] == [""] * 4
    assert VIDEOMME.score(results)["acc"] == 0.0


def test_open_questions_are_for_the_judge_and_rated_once():
    class Counts(RougeJudge):
        asked = 0

        def rate(self, items):
            self.asked += len(items)
            return super().rate(items)

    judge = Counts()
    texts = (GOOD.format("3.43"), "4", "")
    results = [VIDEOMMMU.result(OPEN, {"which": text}, RELATIVE_1000) for text in texts]
    rated = VIDEOMMMU.rate([*results, VIDEOMMMU.result(RECORD, {"which": "B"}, RELATIVE_1000)], judge)
    assert [record["correct"] for record in rated] == [1.0, 0.0, 0.0, 1.0]
    assert judge.asked == 2
    assert VIDEOMMMU.score(rated)["acc/Adaptation"] == pytest.approx(1 / 3)
    assert VIDEOMMMU.rate(rated, judge) == rated
    assert judge.asked == 2
    with pytest.raises(ValueError, match="record 0 is not rated"):
        VIDEOMMMU.score(results)


@given(st.text())
def test_any_completion_gives_a_score(text):
    assert 0 <= score((RECORD, text))["acc"] <= 1
