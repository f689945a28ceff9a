"""Each reward against values worked out by hand, and all of them against any text."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.core.evidence import parse_completion
from openo3.core.geometry import RELATIVE_1000, pixels
from openo3.core.rewards import (
    ADDED,
    REWARDS,
    RewardSettings,
    ans_where,
    score,
    sigma_s,
    thk_objects,
    total,
)
from openo3.core.schema import STGR_TASKS, KeyFrame, Sample, Task

SPAN = "From <t>2.0</t>s to <t>6.0</t>s"
ANSWERS = {
    Task.TEMPORAL_SPATIAL: "a red cup",
    Task.TEMPORAL: SPAN,
    Task.TEMPORAL_MCQ: f"{SPAN}\nCorrect Option: C",
    Task.VISUAL: "<obj>cup</obj><box>[0.2,0.2,0.6,0.6]</box>",
    Task.MCQ: "B",
    Task.FREE_FORM: "a red cup",
    Task.WHERE: "",
}
APPLICABLE = {
    Task.TEMPORAL_SPATIAL: {"ans_acc", "thk_temporal_point", "thk_spatial", "format"},
    Task.TEMPORAL: {"ans_tiou", "thk_temporal_segment", "format"},
    Task.TEMPORAL_MCQ: {"ans_acc", "ans_tiou", "thk_temporal_segment", "format"},
    Task.VISUAL: {"ans_viou", "thk_spatial", "format"},
    Task.MCQ: {"ans_acc", "format"},
    Task.FREE_FORM: {"ans_acc", "format"},
    Task.WHERE: set(),
}
FRAMES = (KeyFrame(1, 2.0), KeyFrame(2, 5.0))
ITEMS = {
    1: {"cup": ((0.0, 0.0, 0.5, 0.5),), "dog": ((0.5, 0.5, 1.0, 1.0), (0.0, 0.5, 0.5, 1.0))},
    2: {"cup": ((0.5, 0.0, 1.0, 0.5),)},
}
CUP_1, CUP_2 = "<box>[0,0,0.5,0.5]</box>", "<box>[0.5,0,1,0.5]</box>"
DOGS = "<box>[0.5,0.5,1,1]</box><box>[0,0.5,0.5,1]</box>"
HALF_CUP_1 = "<box>[0,0,0.5,0.25]</box>"


def sample(task, answer=None):
    return Sample("1", task, "", "?", answer or ANSWERS[task], "", key_frames=FRAMES, key_items=ITEMS)


def of(task, text, **options):
    progress = options.pop("progress", 0.0)
    return score(sample(task), parse_completion(text), progress, RewardSettings(**options))


def claim(boxes, time_s):
    return f"<obj>it</obj>{boxes}at<t>{time_s}</t>s"


@pytest.mark.parametrize("task", Task)
def test_what_applies_to_each_task(task):
    scored = of(task, "<think></think><answer></answer>")
    assert list(scored) == list(REWARDS)
    assert {name for name, value in scored.items() if value is not None} == APPLICABLE[task]


def test_the_papers_rewards_are_seven_and_ours_are_none_of_them():
    assert list(REWARDS) == [
        "ans_acc", "ans_tiou", "ans_viou", "thk_temporal_point", "thk_temporal_segment", "thk_spatial",
        "format",
    ]  # fmt: skip
    assert list(ADDED) == ["ans_where", "thk_objects"]


@pytest.mark.parametrize("task", Task)
def test_ans_where_applies_to_direct_questions_alone(task):
    assert (task in STGR_TASKS) == (task is not Task.WHERE)
    for text in ("", '{"2": [0,0,0.5,0.5]}', "<think></think><answer></answer>"):
        value = ans_where(sample(task), parse_completion(text), progress=0.5, gate="symmetric", gate_s=1.0)
        assert (value is None) == (task is not Task.WHERE)


def cited(*names: str) -> str:
    claims = (f"<obj>{name}</obj><box>[0,0,1,1]</box>at<t>3.0</t>s" for name in names)
    return f"<think>{' '.join(claims)}</think><answer>cup</answer>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (cited("cup", "man", "hat"), 1.0),
        (cited("hat", "MAN", " cup "), 1.0),  # in any order
        (cited("cup", "hat"), 0.8),  # a step left out
        (cited("cup", "man", "hat", "dog"), 6 / 7),  # a step put in
        (cited("cup", "cup", "cup"), 1 / 3),  # repetition does not pay
        (cited("dog"), 0.0),
        ("<think>cup, man, hat</think><answer>cup</answer>", 0.0),  # names alone are no evidence
        ("", 0.0),
    ],
)
def test_thk_objects_counts_the_steps_that_are_cited(text, value):
    box = ((0.0, 0.0, 0.5, 0.5),)
    items = {1: {"cup": box}, 2: {"man": box, "hat": box}}
    frames = (KeyFrame(1, 2.0), KeyFrame(2, 5.0))
    asked = Sample("1", Task.TEMPORAL_SPATIAL, "", "?", "", "", key_frames=frames, key_items=items)
    assert thk_objects(asked, parse_completion(text)) == pytest.approx(value)


@pytest.mark.parametrize("task", Task)
def test_thk_objects_applies_where_objects_are_annotated_by_key_frame(task):
    assert (thk_objects(sample(task), parse_completion("")) is None) == (task is not Task.TEMPORAL_SPATIAL)


ONE = Sample(
    "1", Task.WHERE, "", "?", "", "", key_frames=(KeyFrame(0, 2.0), KeyFrame(1, 5.0)),
    key_items={0: {"cup": ((0.0, 0.0, 0.5, 0.5),)}, 1: {"cup": ((0.5, 0.0, 1.0, 0.5),)}},
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"2": [0,0,500,500], "5": [500,0,1000,500]}', 1),
        ('{"2": [0,0,500,500]}', 1 / 2),
        ('{"2": [0,0,500,250], "5": [500,0,1000,500]}', 3 / 4),
        ('{"2": [500,0,1000,500], "5": [0,0,500,500]}', 0),  # each second's box is the other's
        ('{"3": [0,0,500,500], "4": [500,0,1000,500]}', 0),
        ('{"2": [0,0,500,500], "5": [500,0,1000,500], "6": [0,0,1,1]}', 1),
        ('{"2": [[0,0,10,10], [0,0,500,500]], "5": [500,0,1000,500]}', 1),
        ('{"2.0": [0,0,500,500], "5s": [500,0,1000,500]}', 1),
        ('```json\n{"2": [0,0,500,500], "5": [500,0,1000,500', 1 / 2),
        ('<think>a</think><answer>{"2": [0,0,500,500], "5": [500,0,1000,500]}</answer>', 1),
        ('{"2": [0,0,500,500]}<answer>no</answer>', 0),
        ('{"2": [500,500,0,0]}', 0),
        ("[0,0,500,500]", 0),
        ("", 0),
    ],
)
def test_ans_where(text, expected):
    assert ans_where(ONE, parse_completion(text, RELATIVE_1000)) == pytest.approx(expected)


def test_a_direct_question_without_key_frames_earns_nothing():
    bare = Sample("1", Task.WHERE, "", "?", "", "")
    assert ans_where(bare, parse_completion('{"2": [0,0,500,500]}', RELATIVE_1000)) == 0


@pytest.mark.parametrize(
    ("task", "answer", "expected"),
    [
        (Task.MCQ, "B", 1),
        (Task.MCQ, " B. ", 1),
        (Task.MCQ, "(B)", 1),
        (Task.MCQ, "[B]", 1),
        (Task.MCQ, "b", 0),
        (Task.MCQ, "B) a cup", 0),
        (Task.MCQ, "A", 0),
        (Task.MCQ, "", 0),
        (Task.TEMPORAL_MCQ, "Correct Option: C", 1),
        (Task.TEMPORAL_MCQ, f"{SPAN}\nCorrect Option: (C)\n", 1),
        (Task.TEMPORAL_MCQ, f"{SPAN}\nCorrect Option:", 0),
        (Task.TEMPORAL_MCQ, f"{SPAN}\nC", 0),
        (Task.TEMPORAL_MCQ, "Correct Option: C Correct Option: D", 1),
        (Task.FREE_FORM, "a red cup", 1),
        (Task.FREE_FORM, "A RED CUPS!", 1),  # case, punctuation and endings do not matter
        (Task.FREE_FORM, "a blue cup", (2 / 3 + 0 + 2 / 3) / 3),
        (Task.FREE_FORM, "red cup", (0.8 + 2 / 3 + 0.8) / 3),  # 1: P 1, R 2/3; 2: P 1, R 1/2; L: P 1, R 2/3
        (Task.TEMPORAL_SPATIAL, "cup", (0.5 + 0 + 0.5) / 3),
        (Task.FREE_FORM, "", 0),
        (Task.FREE_FORM, "一个红色的杯子", 0),
    ],
)
def test_ans_acc(task, answer, expected):
    assert of(task, f"<answer>{answer}</answer>")["ans_acc"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("From <t>2.0</t>s to <t>6.0</t>s", 1),
        ("From <t>4</t>s to <t>8</t>s", 2 / 6),
        ("<t>3</t>s to <t>4</t>s, no: <t>2</t>s to <t>6</t>s", 1 / 4),
        ("From <t>6</t>s to <t>2</t>s", 0),
        ("From <t>7</t>s to <t>9</t>s", 0),
        ("From <t>nan</t>s to <t>inf</t>s", 0),
        ("From <t>-2</t>s to <t>6</t>s", 0),
        ("2.0 to 6.0", 0),
        (f"From <t>0</t>s to <t>{'9' * 400}</t>s", 0),
        ("", 0),
    ],
)
@pytest.mark.parametrize("task", [Task.TEMPORAL, Task.TEMPORAL_MCQ])
def test_ans_tiou(task, answer, expected):
    assert of(task, f"<answer>{answer}</answer>")["ans_tiou"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<box>[0.2,0.2,0.6,0.6]</box>", 1),
        ("<obj>cup</obj><box>[0.2,0.2,0.6,0.4]</box><box>[0.2,0.2,0.6,0.6]</box>", 0.5),
        ("<box>[0.4,0.4,0.8,0.8]</box>", 0.04 / 0.28),
        ("<box>[0.6,0.6,0.2,0.2]</box>", 0),
        ("<box>[nan,0,1,1]</box>", 0),
        ("<box>[[0.2,0.2,0.6,0.6]]</box>", 0),
        ("<box>[0.2,0.2,0.6]</box>", 0),
        ("<box>[-1e300,-1e300,1e300,1e300]</box>", 0),
        ("cup", 0),
    ],
)
def test_ans_viou(answer, expected):
    assert of(Task.VISUAL, f"<answer>{answer}</answer>")["ans_viou"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("progress", "sigma"), [(0, 4), (0.25, 3), (0.5, 2), (0.7499, 1.0004), (0.75, 1), (0.9, 1), (1, 1)]
)
def test_sigma(progress, sigma):
    assert sigma_s(progress) == pytest.approx(sigma)


@pytest.mark.parametrize(
    ("reasoning", "progress", "expected"),
    [
        ("<t>2.0</t>s", 0, 1),
        ("<t>5</t>s <t>2.</t>s", 1, 1),
        ("<t>3</t>s", 1, math.exp(-1 / 2)),
        ("<t>3</t>s", 0, math.exp(-1 / 32)),
        ("<t>3</t>s", 0.5, math.exp(-1 / 8)),
        ("<t>2</t>s <t>8</t>s", 0.75, (1 + math.exp(-9 / 2)) / 2),
        ("<t>2</t>s <t>nan</t>s <t>-1</t>s", 1, 1),  # no times
        (f"<t>{'9' * 400}</t>s <t>1e3</t>s", 1, 0),
        ("<t>2.0</t>", 1, 0),
        ("", 1, 0),
    ],
)
def test_thk_temporal_point(reasoning, progress, expected):
    scored = of(Task.TEMPORAL_SPATIAL, f"<think>{reasoning}</think><t>9</t>s", progress=progress)
    assert scored["thk_temporal_point"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ("<t>2</t>s <t>6</t>s", 1),  # the ends are inside
        ("<t>1.9</t>s <t>4</t>s <t>6.1</t>s <t>3</t>s", 0.5),
        ("<t>7</t>s", 0),
        ("no time", 0),
    ],
)
@pytest.mark.parametrize("task", [Task.TEMPORAL, Task.TEMPORAL_MCQ])
def test_thk_temporal_segment(task, reasoning, expected):
    assert of(task, f"<think>{reasoning}</think>")["thk_temporal_segment"] == expected


@pytest.mark.parametrize(
    ("reasoning", "symmetric", "released"),
    [
        (claim(CUP_1, 2.0), 1, 1),
        (claim(CUP_2, 5.9), 1, 1),
        (claim(HALF_CUP_1, 2.0), 0.5, 0.5),
        (claim(DOGS, 2.0), 1, 1),  # the best object: both dogs found
        (claim("<box>[0.5,0.5,1,1]</box>", 2.0), 0.5, 0.5),  # one of two dogs
        (claim(CUP_2 + CUP_1, 2.0), 1, 1),  # the best box of the claim
        (claim(CUP_1, 2.9), 1, 1),
        (claim(CUP_1, 3.0), 0, 1),  # exactly tau after: gated, but not by the released test
        (claim(CUP_1, 1.0), 0, 0),  # exactly tau before
        (claim(CUP_1, 1.1), 1, 1),
        (claim(CUP_1, 3.9), 0, 1),  # nearer to 5.0, which the released test does not admit
        (claim(CUP_2, 99), 0, 1),  # any time after a key frame passes the released test
        (claim(CUP_1, 2.0) + claim(CUP_1, 0.5), 0.5, 0.5),  # a gated claim counts 0
        (claim(CUP_1, 2.0) + claim("<box>[nan,0,1,1]</box>", 2.0), 1, 1),  # not a claim
        (claim(CUP_1, 2.0) + claim("<box>[0,0,1e300,1e300]</box>", 2.0), 0.5, 0.5),
        (f"<obj>cup</obj>{CUP_1}", 0, 0),  # no time
        (claim(CUP_1, "nan"), 0, 0),
        ("", 0, 0),
    ],
)
def test_thk_spatial_of_videos(reasoning, symmetric, released):
    text = f"<think>{reasoning}</think>"
    assert of(Task.TEMPORAL_SPATIAL, text)["thk_spatial"] == pytest.approx(symmetric, abs=1e-9)
    assert of(Task.TEMPORAL_SPATIAL, text, gate="released")["thk_spatial"] == pytest.approx(
        released, abs=1e-9
    )


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        (claim(CUP_1, 2.0), (1 + 1 / 3) / 2),  # one of the three annotated
        (claim(CUP_1, 2.0) * 2, (1 + 1 / 3) / 2),  # saying it again finds no more
        (claim(CUP_1, 2.0) + claim(DOGS, 2.1), (1 + 2 / 3) / 2),
        (claim(CUP_1, 2.0) + claim(DOGS, 2.1) + claim(CUP_2, 5.0), 1),
        (claim(CUP_1, 2.0) + claim(CUP_1, 9.0), (0.5 + 1 / 3) / 2),
        (claim(CUP_2, 2.0), 0),  # where it is at another time
        ("", 0),
    ],
)
def test_coverage_counts_what_is_not_cited(reasoning, expected):
    scored = of(Task.TEMPORAL_SPATIAL, f"<think>{reasoning}</think>", coverage=True)
    assert scored["thk_spatial"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ("<obj>x</obj><box>[0.7,0.7,0.9,0.9]</box> <box>[0.2,0.2,0.6,0.6]</box>", 1),
        ("<box>[0.2,0.2,0.4,0.6]</box>", 0.5),
        ("a cup", 0),
    ],
)
def test_thk_spatial_of_images(reasoning, expected):
    scored = of(Task.VISUAL, f"<think>{reasoning}</think><box>[0.2,0.2,0.6,0.6]</box>")
    assert scored["thk_spatial"] == pytest.approx(expected)


TIMES, CITED = "<t>1</t>s <t>2</t>s", claim(CUP_1, 2.0)


@pytest.mark.parametrize(
    ("task", "text", "expected"),
    [
        (Task.TEMPORAL_SPATIAL, f"<think>{CITED}</think><answer>a</answer>", 1),
        (Task.TEMPORAL_SPATIAL, f"<think>{TIMES}</think><answer>a</answer>", 0.5),
        (Task.TEMPORAL, f"<think>{TIMES}</think><answer>a</answer>", 1),
        (Task.TEMPORAL, f"<think>{CITED}</think><answer>a</answer>", 0.5),  # one time
        (Task.TEMPORAL_MCQ, f"<answer>a</answer><think>{TIMES}</think>", 1),  # in any order
        (Task.VISUAL, "<think>a</think><answer><obj>red cup</obj><box>[1,2,3,4]</box></answer>", 1),
        (Task.VISUAL, "<think>a</think><answer><obj>cup</obj> <box>[1,2,3,4]</box></answer>", 0.5),
        (Task.MCQ, "<think>a</think><answer>a</answer>", 1),
        (Task.FREE_FORM, "<think>a</think><answer>a</answer>", 1),
        (Task.MCQ, "<think>a</think>", 0),
        (Task.MCQ, "<answer>a</answer>", 0),
        (Task.MCQ, "", 0),
        (Task.MCQ, "<think>a</think></think><answer>a</answer>", 0),
        (Task.MCQ, "<think>a</think><answer><answer>a</answer>", 0),
        (Task.MCQ, "<think><think>a</think><answer>a</answer>", 0),
        (Task.MCQ, "<think><obj>a</think><answer>a</answer>", 0),
        (Task.MCQ, "<think><t></t></t></think><answer>a</answer>", 0),
        (Task.MCQ, "<think></box></think><answer>a</answer>", 0),
        (Task.MCQ, "<think>a</think><answer><obj></answer>", 1),  # only the reasoning's tags are counted
    ],
)
def test_format(task, text, expected):
    assert of(task, text)["format"] == expected


def test_a_whole_completion_in_pixels():
    text = (
        "<think>The <obj>cup</obj><box>[0,0,50,20]</box>at<t>2.5</t>s and later the <obj>cup</obj>"
        "<box>[50,0,100,40]</box>at<t>5.0</t>s</think><answer>a blue cup</answer>"
    )
    scored = score(sample(Task.TEMPORAL_SPATIAL), parse_completion(text, pixels((100, 80))), progress=0.5)
    assert scored == {
        "ans_acc": pytest.approx(4 / 9),
        "ans_tiou": None,
        "ans_viou": None,
        "thk_temporal_point": pytest.approx((math.exp(-0.25 / 8) + 1) / 2),
        "thk_temporal_segment": None,
        "thk_spatial": pytest.approx((0.5 + 1) / 2),
        "format": 1,
    }
    assert total(scored) == pytest.approx(4 / 9 + (math.exp(-0.25 / 8) + 1) / 2 + 0.75 + 1)


def test_a_key_frame_without_objects_counts_nothing():
    bare = Sample("1", Task.TEMPORAL_SPATIAL, "", "?", "cup", "", key_frames=(KeyFrame(7, 2.0),))
    scored = score(bare, parse_completion(f"<think>{CITED}</think>"))
    assert (scored["thk_spatial"], scored["thk_temporal_point"]) == (0, 1)
    nothing = score(Sample("1", Task.TEMPORAL_SPATIAL, "", "?", "cup", ""), parse_completion(CITED))
    assert (nothing["thk_spatial"], nothing["thk_temporal_point"]) == (0, 0)


PIECES = [CITED, TIMES, SPAN, DOGS, "nan", "<box>[1e999,0,1,1]</box>", "Correct Option: C", "B", "a red cup"]
PIECES += [f"<{slash}{tag}>" for tag in ("think", "answer", "obj", "box", "t") for slash in ("", "/")]


@given(
    st.sampled_from(Task),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=30).map("".join),
    st.floats(0, 1),
    st.sampled_from(["symmetric", "released"]),
)
def test_any_text_earns_a_share(task, text, progress, gate):
    for completion in (text, f"<think>{text}</think><answer>{text}</answer>"):
        scored = of(task, completion, progress=progress, gate=gate)
        assert all(value is None or 0 <= value <= 1 for value in scored.values())
        assert 0 <= total(scored) <= 7


@pytest.mark.parametrize("task", Task)
def test_a_megabyte_is_scored_quickly(task):
    started = time.process_time()
    for part in (CITED, "<t>3</t>s ", "red cups ", "<think>"):
        of(
            task,
            f"<think>{part * (10**6 // len(part))}</think><answer>{part * (10**6 // len(part))}</answer>",
        )
    assert time.process_time() - started < 8  # about a second


def test_settings_decide_what_is_scored_and_what_it_weighs():
    settings = RewardSettings(adaptive=False, weights={"thk_objects": 2.0, "thk_spatial": 0.0})
    known, late = sample(Task.TEMPORAL_SPATIAL), parse_completion(f"<think>{CITED}</think>")
    scored = score(known, late, 0.0, settings)
    assert list(scored) == [*REWARDS, "thk_objects"]
    assert scored["thk_temporal_point"] == score(known, late, 1.0)["thk_temporal_point"]
    counted = {name: value for name, value in scored.items() if value is not None and name != "thk_spatial"}
    assert total(scored, settings) == pytest.approx(sum(counted.values()) + scored["thk_objects"])


def test_a_weight_of_no_reward_is_refused():
    with pytest.raises(ValueError, match="no reward ans_ac; there are ans_acc, "):
        RewardSettings(weights={"ans_ac": 1.0})
