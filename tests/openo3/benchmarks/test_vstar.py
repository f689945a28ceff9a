"""V-STaR: the five questions, answers of any text, and all numbers of three records worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.benchmarks import registry, vstar, vstar_scores
from openo3.benchmarks.judges import RougeJudge
from openo3.core.geometry import NORMALISED, RELATIVE_1000, pixels
from openo3.core.metrics import bootstrap
from openo3.prompt_file import default_prompts


def box(second, xmin, ymin, xmax, ymax):
    return {
        "timestamp": second,
        "frame_index": second * 30,
        "xmin": xmin,
        "ymin": ymin,
        "xmax": xmax,
        "ymax": ymax,
    }


def record(**fields):
    return {
        "vid": "v1",
        "domain": "Shapes",
        "fps": 30.0,
        "width": 200,
        "height": 100,
        "frame_count": 900,
        "question": "What falls?",
        "answer": "the red cup",
        "object": "cup",
        "temporal_question": "When does it fall?",
        "timestamps": [2.5, 6.0],
        "spatial_question": "Where is the cup?",
        "spatial_question_2": "Where is the falling thing?",
        "bboxes": [box(3, 0, 0, 100, 100), box(4, 100, 0, 200, 100)],
        **fields,
    }


def score(results, judge):
    return vstar.VSTAR.score(vstar.VSTAR.rate(results, judge))


def test_questions():
    asked = vstar.questions(record(), RELATIVE_1000, default_prompts())
    assert list(asked) == ["what", "when", "where", "where_2", "when_2"]
    assert asked["what"].startswith("What falls?\n")
    assert "seconds 3, 4, 5, 6 as JSON" in asked["where"]
    assert "Choose the 2 whole seconds" in asked["where_2"]
    assert "[0,0,500,1000] [500,0,1000,1000]" in asked["when_2"]
    assert (
        "[0,0,48,48] [48,0,96,48]" in vstar.questions(record(), pixels((96, 48)), default_prompts())["when_2"]
    )


@pytest.mark.parametrize(
    ("span", "seconds"),
    [([2.5, 6.0], [3, 4, 5, 6]), ([2.0, 2.0], [2]), ([2.2, 2.8], [2]), ([0, 1.9], [0, 1])],
)
def test_asked_seconds(span, seconds):
    assert vstar.asked_seconds(record(timestamps=span)) == seconds


CLAIM = "<obj>cup</obj><box>[0,0,500,1000]</box>at<t>3.0</t>s"
GOOD = {
    "what": f"<think>{CLAIM}</think><answer>the red cup</answer>",
    "when": "<think><t>2.5</t>s <t>6.0</t>s</think><answer>From <t>2.5</t>s to <t>6.0</t>s</answer>",
    "where": '{"3": [0,0,500,1000], "4": [500,0,1000,1000]}',
    "where_2": '```json\n{"3.0": [[0,0,500,1000],[0,0,1,1]]}\n```',
    "when_2": "between 0:02 and 0:06",
}


def test_a_result_is_in_source_pixels():
    filled = vstar.result(record(), GOOD, RELATIVE_1000)
    assert filled["question"] == "What falls?"
    assert filled["answer_vqa"] == "the red cup"
    assert filled["answer_temporal"] == [2.5, 6.0]
    assert filled["answer_temporal_2"] == [2.0, 6.0]
    assert filled["answer_temporal_pre_2"] == GOOD["when_2"]
    assert filled["answer_spatial"] == {"3": [0, 0, 100, 100], "4": [100, 0, 200, 100]}
    assert filled["answer_spatial_2"] == {"3": [[0, 0, 100, 100], [0, 0, 0.2, 0.1]]}
    assert filled["format"] == 4 / 5  # when_2 has no blocks


def test_a_right_result_scores_right():
    scores = score([vstar.result(record(), GOOD, RELATIVE_1000)], RougeJudge())
    assert scores["acc"] == scores["tIoU_1"] == scores["vIoU_1"] == 1
    assert scores["tIoU_2"] == pytest.approx(3.5 / 4)
    assert scores["vIoU_2"] == 0.5
    assert scores["mLGM"] is None
    assert scores["intervals"]["acc"] == [1, 1]
    assert scores["intervals"]["mLGM"] == [None, None]
    assert (scores["format"], scores["n"]) == (0.8, 1)


completions = st.dictionaries(st.sampled_from(list(GOOD)), st.text() | st.sampled_from(list(GOOD.values())))


@given(completions, st.sampled_from([NORMALISED, RELATIVE_1000, pixels((96, 48))]))
def test_any_completion_gives_a_score(said, space):
    scores = score(
        [vstar.result(record(), said, space), vstar.result(record(), GOOD, RELATIVE_1000)], RougeJudge()
    )
    for name in ("acc", "tIoU_1", "vIoU_1", "tIoU_2", "vIoU_2", "mAM", "format"):
        assert 0 <= scores[name] <= 1


class Fixed:
    """A judge of given ratings that remembers what it was asked."""

    def __init__(self, *ratings):
        self.ratings, self.asked = ratings, []

    def rate(self, items):
        self.asked += items
        return list(self.ratings[: len(items)])


RESULTS = [
    record(  # rated before: correct
        VQA_score=2,
        answer_vqa="a red thing",
        answer_temporal=[2.5, 4.25],  # half of 3.5 s
        answer_spatial={"3": [0, 0, 100, 50], "4": [100, 0, 200, 100]},  # 0.5 and 1
        answer_temporal_2=[],
        answer_temporal_pre_2="from 0:02.5 to 0:06",  # 1
        answer_spatial_2={"3.0": [[0, 0, 1, 1], [0, 0, 100, 80]], "9": [0, 0, 1, 1]},  # 0.8 and missing
    ),
    record(  # the judge could not say
        frame_count=1800,  # 60 s
        domain="Other",
        answer_vqa="a cup",
        answer_temporal=[0, 2.5],
        answer_temporal_pre="from 2.5 to 6",  # not read, as there is an answer
        answer_spatial=None,
        answer_temporal_2=[1, 2, 3],
        answer_spatial_2={"3": [1, 2, 3], "4": "none", "x": [100, 0, 200, 100]},
    ),
    record(  # nothing answered
        frame_count=5400,  # 180 s
        answer_vqa="",
        answer_temporal=[],
        answer_temporal_pre="",
        answer_spatial={},
    ),
    record(VQA_score=3, answer_vqa="x", answer_temporal=[2.5, 6.0], answer_spatial={"3": [0, 0, 100, 100]}),
]


def test_all_numbers_by_hand():
    judge = Fixed(-1)
    blocks = vstar_scores.report(vstar_scores.rate(RESULTS, judge))
    assert judge.asked == [("What falls?", "the red cup", "a cup")]
    assert list(blocks) == [
        "overall",
        "length/Short",
        "length/Medium",
        "length/Long",
        "domain/Other",
        "domain/Shapes",
    ]
    overall = blocks["overall"]
    assert overall["acc"] == 2 / 4
    assert overall["avg_all"] == (2 + 0 + 0 + 3) / 4
    assert overall["avg_valid"] == pytest.approx((2 + 0 + 3) / 3)
    tiou_1, viou_1 = (0.5 + 0 + 0 + 1) / 4, (0.75 + 0 + 0 + 0.5) / 4
    tiou_2, viou_2 = (1 + 0 + 0 + 0) / 4, (0.4 + 0 + 0 + 0) / 4
    assert overall["chain1"] == pytest.approx(
        {
            "R1@0.3": 2 / 4,
            "R1@0.5": 2 / 4,
            "R1@0.7": 1 / 4,
            "m_tIoU": tiou_1,
            "AP@0.1": (1 + 0 + 0 + 0.5) / 4,
            "AP@0.3": (1 + 0 + 0 + 0.5) / 4,
            "AP@0.5": (1 + 0 + 0 + 0.5) / 4,
            "AP@0.7": (0.5 + 0 + 0 + 0.5) / 4,
            "AP@0.9": (0.5 + 0 + 0 + 0.5) / 4,
            "m_vIoU": viou_1,
        }
    )
    assert overall["chain2"]["m_tIoU"] == tiou_2
    assert overall["chain2"]["AP@0.7"] == 0.5 / 4
    assert overall["chain2"]["AP@0.9"] == 0
    am = [(0.5 + tiou_1 + viou_1) / 3, (0.5 + tiou_2 + viou_2) / 3]
    lgm = [
        -(math.log(0.5) + math.log(1 - tiou_1) + math.log(1 - viou_1)) / 3,
        -(math.log(0.5) + math.log(1 - tiou_2) + math.log(1 - viou_2)) / 3,
    ]
    assert [overall[name] for name in ("AM1", "AM2", "mAM")] == pytest.approx([*am, sum(am) / 2])
    assert [overall[name] for name in ("LGM1", "LGM2", "mLGM")] == pytest.approx([*lgm, sum(lgm) / 2])
    assert blocks["length/Medium"]["acc"] == blocks["length/Medium"]["mLGM"] == 0
    assert blocks["length/Short"]["acc"] == 1
    assert blocks["length/Short"]["LGM1"] is None
    assert blocks["length/Short"]["infinite"] == ["LGM1", "LGM2", "mLGM"]
    assert blocks["domain/Shapes"]["acc"] == 2 / 3
    assert "infinite" not in overall


def test_the_flat_numbers_agree_with_the_blocks():
    flat = score(RESULTS, Fixed(-1))
    overall = vstar_scores.report(vstar_scores.rate(RESULTS, Fixed(-1)))["overall"]
    for name in ("acc", "mAM", "mLGM"):
        assert flat[name] == pytest.approx(overall[name])
        low, high = flat["intervals"][name]
        assert low <= flat[name]
        assert high is None or flat[name] <= high
    assert flat["tIoU_2"] == pytest.approx(overall["chain2"]["m_tIoU"])
    assert flat["vIoU_1"] == pytest.approx(overall["chain1"]["m_vIoU"])
    assert "format" not in flat


def test_summary_is_a_function_of_the_means():
    values = [scored.columns for scored in vstar_scores.scored_records(vstar_scores.rate(RESULTS, Fixed(-1)))]
    intervals = bootstrap(values, vstar_scores.summary)
    assert len(intervals) == len(vstar_scores.METRICS)
    assert intervals[0].value == 0.5


def test_results_are_rated_before_they_are_scored():
    with pytest.raises(ValueError, match="record 1 has no VQA_score"):
        vstar.VSTAR.score(RESULTS)


def test_registry():
    assert registry.get("vstar") is vstar.VSTAR
    with pytest.raises(KeyError, match="there are vstar, tvgbench, videomme, worldsense, "):
        registry.get("mmlu")
