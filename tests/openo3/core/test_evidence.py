"""The grammar: round trips, hand-made oddities, and any text at all in linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.core.evidence import (
    Claim,
    convert_boxes,
    format_claim,
    format_completion,
    format_span,
    parse_boxes,
    parse_claims,
    parse_completion,
    parse_span,
    read_where,
    split_evidence,
)
from openo3.core.geometry import NORMALISED, RELATIVE_1000, pixels

names = st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]), max_size=20).map(str.strip)
units = st.integers(0, 10**9).map(lambda n: n / 10**9)
times = st.integers(0, 10**6).map(lambda n: n / 100)
box_lists = st.lists(st.tuples(units, units, units, units), min_size=1, max_size=3)
claims = st.builds(Claim, names, box_lists.map(tuple), st.none() | times)
PAIRS = [piece for tag in ("think", "answer", "obj", "box", "t") for piece in (f"<{tag}>", f"</{tag}>")]
ODD = [
    "[1,2,3,4]",
    "[",
    "]",
    "{",
    "}",
    '"3":',
    "at",
    "s",
    "nan",
    "inf",
    "-1",
    "1e999",
    "9" * 400,
    "0:05",
    " ",
]
model_text = st.lists(st.sampled_from(PAIRS + ODD) | st.text(max_size=5), max_size=60).map("".join)


@given(st.lists(claims, max_size=4), st.text(st.characters(exclude_characters="<"), max_size=10))
def test_claims_round_trip(written, between):
    text = between.join(format_claim(claim.name, claim.boxes, claim.time_s) for claim in written)
    read = parse_completion(format_completion(text, "B"))
    assert read.claims == tuple(written)
    assert read.times_s == tuple(claim.time_s for claim in written if claim.time_s is not None)
    assert read.boxes == tuple(box for claim in written for box in claim.boxes)
    assert read.answer == "B"


@given(model_text)
def test_a_text_in_pieces_has_the_same_claims_and_all_other_words(text):
    pieces = list(split_evidence(text))
    assert tuple(piece for piece in pieces if isinstance(piece, Claim)) == parse_claims(text)
    assert all(piece and piece in text for piece in pieces if isinstance(piece, str))


def test_white_space_before_a_time_belongs_to_the_claim():
    [claim] = split_evidence("<obj>cup</obj><box>[0,0,1,1]</box> at <t> 2.5 </t> s")
    assert claim == Claim("cup", ((0.0, 0.0, 1.0, 1.0),), 2.5)


@given(times, times)
def test_spans_round_trip(start, length):
    assert parse_span(format_span(start, start + length)) == pytest.approx((start, start + length))


@given(st.lists(st.tuples(*[st.integers(0, 1000)] * 4), max_size=3), st.tuples(*[st.integers(1, 2000)] * 2))
def test_conversion_there_and_back(boxes, size):
    text = "x".join(format_claim("a b", [box], 1.0) for box in boxes)
    for space in (RELATIVE_1000, pixels(size)):
        assert convert_boxes(convert_boxes(text, space, NORMALISED), NORMALISED, space) == text


@given(model_text)
def test_any_text_is_read(text):
    for space in (NORMALISED, RELATIVE_1000, pixels((64, 48))):
        completion = parse_completion(text, space)
        for claim in completion.claims:
            assert claim.boxes
            assert claim.time_s is None or 0 <= claim.time_s <= 1e9
        where = [box for boxes in read_where(text, space).values() for box in boxes]
        for box in (*completion.boxes, *completion.answer_boxes, *where):
            assert all(abs(value) <= 1e6 for value in box)
        assert completion.answer_span is None or completion.answer_span[0] <= completion.answer_span[1]
        convert_boxes(text, space, NORMALISED)


@pytest.mark.parametrize(
    "text",
    [
        "<obj>" * 200_000,
        "<obj>a</obj>" * 80_000,
        "<obj>a</obj>" + "<box>[1,2,3,4]</box>" * 50_000,
        "<box>[" * 160_000,
        "<box>[" + "1," * 500_000 + "]</box>",
        "<box>[1,2,3," + "9" * 1_000_000 + "]</box>",
        "<t>" + "1" * 1_000_000,
        "1:" * 500_000,
        "1 " * 500_000,
        "[" * 1_000_000,
        '{"1":[' * 160_000,
        '"1"' + " " * 1_000_000 + ":",
        "<think>" * 140_000,
        "</think>" * 120_000 + "<think>",
        "<answer>" + "<t>1</t>s to " * 80_000 + "</answer>",
    ],
    ids=lambda text: f"{text[:16]}...",
)
def test_a_megabyte_is_read_quickly(text):
    started = time.process_time()
    for whole in (text, f"<think>{text}</think><answer>{text}</answer>"):
        completion = parse_completion(whole, RELATIVE_1000)
        assert (completion.claims, completion.times_s, completion.boxes, completion.answer_span) is not None
    read_where(text, RELATIVE_1000)
    assert time.process_time() - started < 4  # about 0.5 s; a quadratic reading needs minutes


def test_first_blocks_count():
    read = parse_completion("<think>a</think> <answer>\n b</answer><think>c</think><answer>d</answer>")
    assert (read.reasoning, read.answer, read.said) == ("a", "b", "b")
    crossed = parse_completion("</think><answer>x<think>y</answer></think>")
    assert (crossed.reasoning, crossed.answer) == ("y</answer>", "x<think>y")
    plain = parse_completion(" a plain answer ")
    assert (plain.reasoning, plain.answer, plain.said) == (None, None, "a plain answer")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<obj>a dog</obj><box>[1,2,3,4]</box>at<t>2</t>s", [("a dog", 1, 2.0)]),
        ("<obj> dog </obj><box>[1, 2, 3, 4]</box><box>[5,6,7,8]</box>at<t>2.</t>s", [("dog", 2, 2.0)]),
        ("<obj>dog</obj><box>[1,2,3,4]</box> at <t> 2.5 </t> s", [("dog", 1, 2.5)]),
        ("<obj>dog</obj><box>[1,2,3,4]</box>", [("dog", 1, None)]),
        ("<obj>dog</obj><box>[1,2,3,4]</box>at<t>nan</t>s", [("dog", 1, None)]),
        ("<obj>dog</obj><box>[1,2,3,4]</box>at<t>-2</t>s", [("dog", 1, None)]),
        ("<obj>a<obj>b</obj><box>[1,2,3,4]</box>at<t>1</t>s", [("b", 1, 1.0)]),
        ("<obj>a</obj> and <obj>b</obj><box>[1,2,3,4]</box>at<t>1</t>s", [("b", 1, 1.0)]),
        ("<obj>a</obj><box>[nan,2,3,4]</box><box>[1,2,3,4]</box>at<t>1</t>s", [("a", 1, 1.0)]),
        ("<obj>a</obj><box>[[1,2,3,4]]</box>at<t>1</t>s", []),
        ("<obj>a</obj><box>[1,2,3]</box>at<t>1</t>s", []),
        ("<obj>a</obj><box>[1,2,3,4,5]</box>at<t>1</t>s", []),
        ("<obj>a</obj><box>[1_0,2,3,4]</box>at<t>1</t>s", []),
        ("<obj>a</obj><box>[inf,2,3,4]</box>at<t>1</t>s", []),
        ("<obj>a</obj>at<t>1</t>s", []),
        ("<box>[1,2,3,4]</box>at<t>1</t>s", []),
    ],
)
def test_claims_by_hand(text, expected):
    assert [(claim.name, len(claim.boxes), claim.time_s) for claim in parse_claims(text)] == expected


def test_huge_numbers_stay_finite():
    (box,) = parse_boxes(f"<box>[-1e300,1e999,{'9' * 300},1]</box>")
    assert box == (-1e6, 1e6, 1e6, 1)
    assert pixels((1920, 1080)).from_normalised(box)
    assert parse_completion(f"<think><t>{'9' * 300}</t>s</think>").times_s == (1e9,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("From <t>1</t>s to <t>2.5</t>s", (1, 2.5)),
        ("<t>1</t>s to <t>2</t>s, or <t>5</t>s to <t>6</t>s", (1, 2)),
        ("<t>3</t>s to <t>2</t>s, or <t>5</t>s to <t>6</t>s", None),
        ("<t>-1</t>s to <t>2</t>s", None),
        ("<t>1</t>s - <t>2</t>s", None),
        ("<t>nan</t>s to <t>inf</t>s", None),
        ("", None),
    ],
)
def test_spans_by_hand(text, expected):
    assert parse_span(text) == expected


HALF = (0.0, 0.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"3": [0,0,500,500], "4": [0, 0, 500, 500]}', {"3": [HALF], "4": [HALF]}),
        ('<think>{"1": [0,0,1,1]}</think><answer>```json\n{"3": [0,0,500,500]}\n```</answer>', {"3": [HALF]}),
        ('{"3": [[0,0,500,500],[0,0,500,500]]} as [0,0,500,500] shows', {"3": [HALF, HALF]}),
        ("[{'3.0': [0,0,500,500]}, {\"4s\": [0,0,500,500]}]", {"3": [HALF], "4": [HALF]}),
        ('{"3": [0,0,500,500], "4": [0,0,5', {"3": [HALF]}),
        ('{"3.5": [0.0,0,5e2,500]}', {"3.5": [HALF]}),
        ('{"3": [0,0,500], "4": "none", "x": [0,0,500,500]}', {}),
        ('{"3": [NaN,0,1,1]}', {}),
        ("I cannot see it.", {}),
    ],
)
def test_where_answers(text, expected):
    assert read_where(text, RELATIVE_1000) == expected
