"""The lenient reader: what models write, in many forms and languages."""

# ruff: noqa: RUF001 (full-width and other look-alike characters are what is tested)

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.core.evidence import parse_completion
from openo3.core.format_check import format_share
from openo3.core.geometry import BoxSpace
from openo3.core.reading import (
    answer_by_rule,
    final_answer,
    read_choice,
    read_times,
    read_where,
    times_by_rule,
    where_by_rule,
)
from openo3.core.schema import Task

CHOICES = ["a red cup", "a blue cup", "neither", "B"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("[A].", "A"),
        ("**D**", "D"),
        ("C. neither", "C"),
        ("A\nbecause it is red", "A"),
        ("<think>A or B?</think><answer> B </answer>", "B"),
        ("The answer is (A).", "A"),
        ("The best choice I think is B", "B"),
        ("It is **C**", "C"),
        ("C. Neither", "C"),
        ("A. a\\nred  cup.", "A"),
        ("The answer is A or B", ""),
        ("A. or B.", ""),
        ("(A) and (B)", ""),
        ("**A** or **B**", ""),
        ("Answer: A, B and C", ""),
        ("A or E", ""),
        ("A blue cup! B", "B"),
        ("Option A is wrong.", ""),
        ("The answer is not option A but B", ""),
        ("Neither option A nor B", ""),
        ("It isn't B", ""),
        ("The answer is A man walking", ""),
        ("She takes vitamin C.", ""),
        ("Answer: C", "C"),
        ("I would choose option A, so the answer is A.", "A"),
        ("A blue cup!", "B"),
        ("E", ""),
        ("", ""),
        ("A cup", ""),
        ("option A or option B", ""),
        ("<answer></answer> A", ""),
        ("AB", ""),
        ("a", "A"),
    ],
)
def test_choices_by_hand(text, letter):
    assert read_choice(text, CHOICES)[0] == letter


def test_of_options_with_equal_words_none_is_meant():
    assert read_choice("a cup", ["a cup", "A cup."])[0] == ""
    assert read_choice("A", [])[0] == ""


def test_signs_tell_options_apart_and_silence_is_none_of_them():
    assert read_choice("0.5", ["-0.5", "0.5"])[0] == "B"
    assert read_choice("x>0", ["x<0", "x>0"])[0] == "B"
    assert read_choice("\u221e", ["0", "\u221e"])[0] == "B"
    for silence in ("", " ", ".", "<answer></answer>"):
        assert read_choice(silence, ["", "."])[0] == ""


def test_of_many_options_the_pronoun_is_none():
    assert read_choice("I think so", list("abcdefghij"))[0] == ""
    assert read_choice("The answer is I", [f"option {n}" for n in range(10)])[0] == "I"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>1 2 3</think><answer>From <t>1.0</t>s to <t>4.5</t>s</answer>", (1, 4.5)),
        ("From <t>1.0</t>s to <t>4.5</t>s", (1, 4.5)),
        ("13.4-28.1", (13.4, 28.1)),
        ("between 0:05 and 1:10.5", (5, 70.5)),
        ("1:02:03 to 1:02:04", (3723, 3724)),
        ("from 5s to 10 seconds", (5, 10)),
        ("the 2nd time, from 3 to 5 in clip12", (3, 5)),
        ("9 to 3", (9, 3)),
        ("from 3 to 5 or 9", None),
        ("at 3", None),
        ("", None),
    ],
)
def test_times_in_a_models_own_words(text, expected):
    assert read_times(text) == expected


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>maybe <answer>A</answer>, no</think><answer>C</answer>", "C"),
        ("<Think>x</THINK> <Answer >C</ answer>", "C"),
        ("<think>x</think><answer>C", "C"),
        ("<think>x</think>\n\nC<|im_end|>", "C"),
        ("x or y</think>C", "C"),
        ("<answer>C</answer><think>as it is green</think>", "C"),
        ("<think>no closing tag <answer>C</answer>", "C"),
        ("<think>cut off in <answer>A</answer>, but", ""),
        ("<think>cut off", ""),
        ("<think>x</think><answer></answer>", ""),
        ("plain", "plain"),
    ],
)
def test_the_answer_is_never_the_reasoning(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{C}",
        "**Final answer:** (C)",
        '{"reason": "green", "answer": "C"}',
        "A. a red cup\nB. a blue cup\nC. neither\nD. B\n\nAnswer: C",
        "Ｃ。",
        "正确答案：C",
        "正解はCです。",
        "정답은 C입니다.",
        "Die richtige Antwort ist C.",
        "La bonne réponse est la C.",
        "La respuesta correcta es la opción C.",
        "A resposta correta é C.",
        "La risposta corretta è C.",
        "Правильный ответ: C",
        "C est la bonne réponse.",
        "C is correct, because nothing is blue.",
        "Hence, C",
        "The answer is C. The man leaves.",
    ],
)
def test_letters_in_many_forms(text):
    assert read_choice(text, CHOICES)[0] == "C"


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [
        ("The answer is A Tall Tree.", ["a house", "a tall tree"], "B"),
        ("A VW bus", ["A Fiat", "A VW"], ""),
        ("It is D-sharp.", ["D-sharp", "C", "B", "A"], "A"),
        ("B. cereus grows", ["E. coli", "x", "B. cereus"], ""),
    ],
)
def test_words_that_start_with_a_letter(text, options, letter):
    assert read_choice(text, options)[0] == letter


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("3 min to 4 min", (180, 240)),
        ("2m 5s to 2m 9s", (125, 129)),
        ("2min5s - 2min9s", (125, 129)),
        ("2 to 3 minutes", (120, 180)),
        ("从3秒到9秒", (3, 9)),
        ("0：03至0：09", (3, 9)),
        ("3초에서 9초까지", (3, 9)),
        ("von 3,5 bis 9,25 Sekunden", (3.5, 9.25)),
        ("3.0 to 9.0 (6 seconds)", (3, 9)),
        ('{"start": "0:03", "end": 9}', (3, 9)),
        ("3e0 to .9e1", (3, 9)),
        ("-3 to 9", None),
        ("30%-90%", None),
        ("minute 3 to minute 9", None),
        ("1,000 to 2,000", None),
    ],
)
def test_times_with_units(text, span):
    assert read_times(text) == span


@pytest.mark.parametrize(
    "text",
    [
        '{"7": [100,200,300,400]}',
        '[{"second": 7, "bbox_2d": [100, 200, 300, 400]}]',
        '```json\n[{"time": "0:07", "box": [[100, 200], [300, 400]]}]\n```',
        '{"7 seconds": {"x1": 100, "y1": 200, "x2": 300, "y2": 400}}',
        '{"7": "[100, 200, 300, 400]"}',
        "**7**: (100, 200, 300, 400)",
        "<obj>dog</obj> <box>[100,200,300,400]</box> at <t>7.0</t> s",
        "<think>7: [0,0,1,1]</think>{'7': [100,200,300,400], '8': [1,",
    ],
)
def test_where_in_many_forms(text):
    assert read_where(text, BoxSpace("relative_1000")) == {"7": [(0.1, 0.2, 0.3, 0.4)]}


@pytest.mark.parametrize(
    "piece",
    [
        "answer ",
        "[",
        '{"a":',
        "<think>",
        "</answer>",
        "1:",
        "1,",
        "5 to ",
        "A. ",
        "(0,0,0",
        "3: [",
        " ",
        "option A",
    ],
)
def test_a_megabyte_is_read_quickly(piece):
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()
    for whole in (text, f"<answer>{text}"):
        read_choice(whole, ["a", "b"])
        read_times(whole)
        read_where(whole)
    assert time.process_time() - started < 4  # about 0.3 s; a quadratic reading needs minutes


@given(st.text(max_size=60))
def test_any_text_is_read(text):
    letter, rule = read_choice(text, ["a", "b"])
    assert letter in ("", "A", "B")
    assert bool(letter) == bool(rule)
    span = read_times(text)
    assert span is None or all(0 <= second <= 1e9 for second in span)
    for boxes in read_where(text).values():
        assert all(abs(side) <= 1e6 for box in boxes for side in box)


def test_empty_reasoning_earns_half_of_the_format():
    texts = ("<think> </think><answer>B</answer>", "<think>blue</think><answer>B</answer>")
    assert [format_share(Task.MCQ, parse_completion(text)) for text in texts] == [0.5, 1.0]


CUPS = ["a red cup", "a blue cup", "a green cup", "none of the above"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("I would go with B", "B"),
        ("I'd go with option B.", "B"),
        ("It's between A and B, but I would go with B", "B"),
        ("I'll go with a blue cup.", "B"),
        ("I think B", "B"),
        ("I'd say (B)", "B"),
        ("Ich würde B wählen", "B"),
        ("1. B", "B"),
        ("(1) B", "B"),
        ("Answer: 1. B", "B"),
        ("2. a blue cup", "B"),
        ("Most likely B.", "B"),
        ("Ans. B", "B"),
        ("→ B", "B"),
        ("• B", "B"),
        ("blue -> B", "B"),
        ("a blue cup (B)", "B"),
        ("a red cup (B)", ""),
        ("1. A\n2. B", ""),
        ("(1) A (2) B", ""),
        ("I would not go with A", ""),
        ("I don't think it is A", ""),
        ("I would go with A or B", ""),
        ("I'd say A is unlikely", ""),
        ("I think A man walks", ""),
        ("1. A man walks", ""),
        ("Probably not B", ""),
        ("The man moves from A -> B", ""),
        ("B is the least likely", ""),
    ],
)
def test_preferences_numbers_and_marks_before_a_letter(text, letter):
    assert read_choice(text, CUPS)[0] == letter


@pytest.mark.parametrize(
    "text",
    [
        "$5 to $12", "€5 to €12", "5 € to 12 €", "USD 5 to 12", "5元到12元", "5 dollars to 12 dollars",
        "5M to 12M", "5 inches to 12 inches", "page 5 to page 12", "5 of 12", "5 x 12",
        "5 or 12 seconds", "ratio 5 to 12",
        "5 apples and 12 pears", "12:05 PM to 12:10 PM",
    ],
)  # fmt: skip
def test_numbers_that_are_no_seconds_are_not_read(text):
    assert read_times(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "$5$ to $12$", "$5.0-12.0$ s", "From $t=5$ to $t=12$", "He pays $3 from 5 s to 12 s", "5…12 s",
        "5s to 12s, i.e. 7 seconds",
    ],
)  # fmt: skip
def test_times_beside_latex_prices_and_lengths(text):
    assert read_times(text) == (5, 12)


@pytest.mark.parametrize(
    "text",
    [
        "3 -> [0,0,500,500]", "| 3 | [0,0,500,500] |", '{"second_3": [0,0,500,500]}', "第3秒：[0,0,500,500]",
        '{"results": [{"second": 3, "bbox": [0,0,500,500]}]}', '{"seconds": [3], "boxes": [[0,0,500,500]]}',
        '{"3": "0,0,500,500"}', "3: <|box_start|>(0,0),(500,500)<|box_end|>", '{"3": [0 0 500 500]}',
        '{"3": {"x":0,"y":0,"width":500,"height":500}}', "<t>3.0</t>s <box>[0,0,500,500]</box>",
        "Second 3 [0,0,500,500]", "[0,0,500,500] at 3s",
    ],
)  # fmt: skip
def test_boxes_after_arrows_in_tables_nested_and_before_their_second(text):
    assert read_where(text, BoxSpace("relative_1000")) == {"3": [(0.0, 0.0, 0.5, 0.5)]}


@pytest.mark.parametrize(
    "text", ["1) [0,0,5,5]", "Box 1: [0,0,5,5]", "Frame 3: [0,0,5,5]", "[0,0,5,5] at 3 minutes"]
)
def test_numbers_of_boxes_and_frames_are_no_seconds(text):
    assert read_where(text, BoxSpace("relative_1000")) == {}


def test_readers_say_which_rule_read_the_answer():
    assert times_by_rule('{"start": 5, "end": 12}') == ((5, 12), "json")
    assert times_by_rule("From <t>5.0</t>s to <t>12.0</t>s") == ((5, 12), "tags")
    assert times_by_rule("from 5 to 12") == ((5, 12), "text")
    assert times_by_rule("never") == (None, "")
    assert where_by_rule('{"3": [0,0,1,1]}')[1] == "json"
    assert where_by_rule("<obj>a</obj><box>[0,0,1,1]</box>at<t>3</t>s")[1] == "claims"
    assert where_by_rule("3 -> [0,0,1,1]")[1] == "text"
    assert where_by_rule("nowhere") == ({}, "")
    assert answer_by_rule("<think>a</think><answer>b</answer>") == ("b", "answer")
    assert answer_by_rule("<think>a</think>b") == ("b", "after")
    assert answer_by_rule("b") == ("b", "whole")
    assert answer_by_rule("<think>a") == ("", "")
