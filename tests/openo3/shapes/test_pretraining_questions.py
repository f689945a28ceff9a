"""Pretraining answers are true of the scene, except for label noise, and have the requested form."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from openo3.core.evidence import Completion, format_completion, parse_claims, parse_completion, read_where
from openo3.core.geometry import RELATIVE_1000, Span
from openo3.core.prompts import INSTRUCTIONS
from openo3.core.schema import Box, Task
from openo3.shapes.noise import LabelNoise
from openo3.shapes.pretraining_questions import LOOSE, SHARES, Pair, PretrainingQuestions, draw_questions
from openo3.shapes.scene import Object, Scene, sample_scene
from tests.openo3.shapes.descriptions import SIDE, covered, description, fitting, in_view, unfolded

SCENES = [sample_scene(np.random.default_rng([11, index])) for index in range(80)]
EXACT = LabelNoise(box_sigma=0, box_loosen=0, span_sigma_s=0, span_loosen_s=0)
TAG = re.compile(r"</?(?:think|answer|obj|box|t)>")
BOX = r"\[\d+,\d+,\d+,\d+\]"
Told = list[tuple[Scene, str, str]]


def answered(ask: Callable[[PretrainingQuestions], Pair], noise: LabelNoise = EXACT, rounds: int = 4) -> Told:
    """Questions of one kind about all scenes, with their answers."""
    questions = [
        PretrainingQuestions(scene, np.random.default_rng([1, n]), noise) for n, scene in enumerate(SCENES)
    ]
    return [(questions.scene, *ask(questions)) for questions in questions for _ in range(rounds)]


def asked_about_pictures(noise: LabelNoise = EXACT) -> list[tuple[Scene, float, str, str]]:
    rng = np.random.default_rng(2)
    found = []
    for scene in SCENES:
        for time in rng.uniform(0, scene.duration_s, 6):
            if pair := PretrainingQuestions(scene, rng, noise).picture(time):
                found.append((scene, float(time), *pair))
    return found


def named(scene: Scene, name: str) -> Object:
    [item] = fitting(scene, f"the {name}")
    return item


def seen(scene: Scene, time_s: float) -> list[Object]:
    """From left to right."""
    there = [item for item in in_view(scene, time_s) if covered(scene, item, time_s) < 0.5]
    return sorted(there, key=lambda item: item.centre(time_s)[0])


def meant(scene: Scene, phrase: str) -> Object:
    """The one shape that a description fits."""
    [item] = fitting(scene, phrase)
    return item


def asked_of(scene: Scene, question: str) -> Object:
    """Whom a question is about."""
    return meant(scene, description(question))


def labelled_spans(scene: Scene, question: str, answer: str) -> list[tuple[Object, Span]]:
    text = TAG.sub("", answer)
    number = r"(\d+\.\d+)"
    found = [
        (named(scene, name), a, b) for name, a, b in re.findall(rf'"(.*?)": \[{number},{number}\]', text)
    ]
    story = rf"The (\w+ \w+) comes into view at {number}s and leaves at {number}s\."
    found += [(named(scene, name), a, b) for name, a, b in re.findall(story, text)]
    answers = re.findall(rf"From {number}s to {number}s", text)
    found += [(asked_of(scene, question), a, b) for a, b in answers]
    return [(item, (float(a), float(b))) for item, a, b in found]


def labelled_boxes(
    scene: Scene, question: str, answer: str, time_s: float | None
) -> list[tuple[Object, float, Box]]:
    """`time_s` is that of the question."""
    read = [(claim.name, claim.time_s, claim.boxes[0]) for claim in parse_claims(answer, RELATIVE_1000)]
    for name, box, time in re.findall(rf"(\w+ \w+) at ({BOX}) at ([\d.]+)s", answer):
        read.append((name, float(time), numbers(box)))
    for name, box in re.findall(rf'(\w+ \w+)(?: is at |": )({BOX})', answer):
        read.append((name, None, numbers(box)))
    about = re.match(r"Where is the (\w+ \w+)", question)
    for second, [box] in read_where(answer, RELATIVE_1000).items():
        read.append((about[1], float(second), box))
    if re.fullmatch(BOX, answer):
        read.append((about[1], None, numbers(answer)))
    return [(named(scene, name), time_s if at is None else at, box) for name, at, box in read]


def numbers(box: str) -> Box:
    return RELATIVE_1000.to_normalised(tuple(map(int, re.findall(r"\d+", box))))


def time_asked(question: str) -> float | None:
    found = re.search(r"at ([\d.]+) seconds\?", question)
    return float(found[1]) if found else None


def all_labels(
    noise: LabelNoise,
) -> tuple[list[tuple[Scene, Object, Span]], list[tuple[Scene, Object, float, Box]]]:
    """The spans and the boxes of the answers of every kind."""
    spans, boxes = [], []
    kinds = [ask for ask in SHARES if ask is not PretrainingQuestions.echo]
    asked = [(*each, time_asked(each[1])) for ask in kinds for each in answered(ask, noise)]
    asked += [(scene, question, answer, at) for scene, at, question, answer in asked_about_pictures(noise)]
    for scene, question, answer, at in asked:
        spans += [(scene, *each) for each in labelled_spans(scene, question, answer)]
        boxes += [(scene, *each) for each in labelled_boxes(scene, question, answer, at)]
    return spans, boxes


def test_without_noise_boxes_and_spans_match_the_scene():
    spans, boxes = all_labels(EXACT)
    assert len(spans) > 1000
    assert len(boxes) > 2000
    assert all(span == (item.enter_s, item.leave_s) for _, item, span in spans)
    for scene, item, time, box in boxes:
        assert item.enter_s <= time <= item.leave_s
        assert box == pytest.approx(scene.box(item, time), abs=0.5001e-3)


def test_labels_have_the_stated_noise():
    spans, boxes = all_labels(LOOSE)
    ends, sides = [], []
    for scene, item, (start, end) in spans:
        assert 0 <= start < end <= scene.duration_s
        ends += [item.enter_s - start] if item.enter_s >= 5 else []
        ends += [end - item.leave_s] if item.leave_s <= scene.duration_s - 5 else []
    for scene, item, time, box in boxes:
        assert all(0 <= value <= 1 for value in box)
        truth = scene.box(item, time)
        off = np.subtract(box, truth) * (-1, -1, 1, 1)
        sides += [error for error, value in zip(off, truth, strict=True) if 0.2 < value < 0.8]
    assert len(ends) > 800
    assert len(sides) > 4000
    assert np.mean(ends) == pytest.approx(LOOSE.span_loosen_s, abs=0.1)
    assert np.std(ends) == pytest.approx(LOOSE.span_sigma_s, abs=0.1)
    assert np.mean(sides) == pytest.approx(LOOSE.box_loosen, abs=0.003)
    assert np.std(sides) == pytest.approx(LOOSE.box_sigma, abs=0.003)


@pytest.mark.parametrize(
    "ask", [PretrainingQuestions.when, PretrainingQuestions.grounded], ids=["when", "grounded"]
)
def test_boxes_given_in_a_question_are_exact(ask: Callable[[PretrainingQuestions], Pair]):
    checked = 0
    for scene, question, _ in answered(ask, LOOSE, 8):
        if found := re.search(r"\nIts boxes over time are (.*)\.(?:\n|$)", question):
            item = asked_of(scene, question)
            seconds = [second for second in range(60) if item.enter_s <= second <= item.leave_s]
            given = [numbers(box) for box in re.findall(BOX, found[1])]
            assert given == [pytest.approx(scene.box(item, second), abs=0.5001e-3) for second in seconds]
            checked += 1
    assert checked > 60


def grounded(noise: LabelNoise = LOOSE) -> list[tuple[Scene, str, Task, Completion]]:
    found = []
    for scene, text, answer in answered(PretrainingQuestions.grounded, noise, 8):
        question, _, instruction = text.rpartition("\n")
        tasks = [task for task, said in INSTRUCTIONS.items() if said == instruction]
        found.append((scene, question, tasks[0], parse_completion(answer, RELATIVE_1000)))
    return found


def test_grounded_answers_have_one_reasoning_and_one_answer():
    for _, _, _, said in grounded():
        assert said.text == format_completion(said.reasoning, said.answer)
        assert not re.search("[{}]", said.text)
        assert all(sentence[0].isupper() for sentence in TAG.sub("", said.reasoning).split(". "))


def test_every_form_of_grounded_answer_occurs():
    tasks = [task for _, _, task, _ in grounded()]
    assert set(tasks) == {Task.TEMPORAL_SPATIAL, Task.MCQ, Task.TEMPORAL, Task.TEMPORAL_MCQ}
    assert min(tasks.count(task) for task in set(tasks)) > 30


def test_what_questions_are_answered_with_a_claim_for_each_step():
    for scene, question, task, said in grounded():
        if task not in (Task.TEMPORAL_SPATIAL, Task.MCQ):
            continue
        item = asked_of(scene, question)
        phrase = re.match(r"What is (.*)\?", question)[1]
        expected = 2 if SIDE.fullmatch(phrase) else len(unfolded(phrase))
        assert len(said.claims) == expected == len(said.boxes) == len(said.times_s)
        assert said.claims[-1].name == item.name
        for claim in said.claims:
            assert claim.time_s is not None
            assert named(scene, claim.name) in in_view(scene, claim.time_s)
        assert said.answer_span is None
        if task is Task.TEMPORAL_SPATIAL:
            assert said.answer == f"the {item.name}"
        else:
            assert f"\n{said.answer}. {item.name}\n" in f"{question}\n"
            assert len(said.answer) == 1


def test_when_questions_are_answered_with_the_times_of_the_reasoning():
    boxed = 0
    for scene, question, task, said in grounded():
        if task not in (Task.TEMPORAL, Task.TEMPORAL_MCQ):
            continue
        item = asked_of(scene, question)
        assert said.answer_span
        assert said.times_s == said.answer_span
        assert not said.claims
        assert f"The {item.name} comes into view at <t>" in said.reasoning
        if task is Task.TEMPORAL:
            assert re.fullmatch(r"From <t>[\d.]+</t>s to <t>[\d.]+</t>s", said.answer)
            boxed += "Its boxes over time" in question
        else:
            letter = re.fullmatch(
                r"From <t>[\d.]+</t>s to <t>[\d.]+</t>s\nCorrect Option: ([A-D])", said.answer
            )[1]
            assert f"\n{letter}. {item.name}\n" in f"{question}\n"
    assert boxed > 30


def test_only_grounded_answers_use_the_grammar():
    for ask in SHARES:
        tagged = [bool(TAG.search(question + answer)) for _, question, answer in answered(ask)]
        if ask is PretrainingQuestions.grounded:
            assert all(tagged)
        elif ask is not PretrainingQuestions.echo:
            assert not any(tagged)


def test_descriptions_take_one_step():
    phrases = set()
    for ask in (
        PretrainingQuestions.short_answer,
        PretrainingQuestions.explanation,
        PretrainingQuestions.grounded,
    ):
        for scene, question, _ in answered(ask):
            asked_of(scene, question)
            phrases.add(re.match(r"\w+ is (.*)\?", question)[1])
    assert len(phrases) > 200
    for phrase in phrases:
        assert phrase.count("shape") == 1
        assert "of those in view" not in phrase
    starts = {" ".join(phrase.split()[1:4]) for phrase in phrases}
    assert starts >= {"shape that comes", "shape that leaves", "shape that hides", "shape left of",
                      "next shape to", "last shape to"}  # fmt: skip


def test_only_one_shape_fits_a_description():
    for ask in (
        PretrainingQuestions.short_answer,
        PretrainingQuestions.explanation,
        PretrainingQuestions.grounded,
    ):
        for scene, question, _ in answered(ask):
            assert len(fitting(scene, description(question))) == 1, (scene, question)


def test_only_one_shape_is_on_a_side_in_a_picture():
    for scene, time, question, _ in asked_about_pictures():
        if found := re.match(r"Where is (the shape .*)\?", question):
            assert len(fitting(scene, f"{found[1]} at {time} seconds")) == 1, (scene, question)


def test_a_short_answer_gives_no_reason():
    forms = set()
    for scene, question, answer in answered(PretrainingQuestions.short_answer):
        item = asked_of(scene, question)
        if question.startswith("When"):
            forms.add("when")
            assert answer == f"From {item.enter_s:.1f}s to {item.leave_s:.1f}s"
        elif "\n" in question:
            forms.add("choice")
            assert f"{answer}. {item.name}" in question.split("\n")[1:]
        else:
            forms.add("what")
            assert answer == f"the {item.name}"
    assert forms == {"when", "choice", "what"}


def test_reasoning_ends_with_the_answer():
    for scene, question, answer in answered(PretrainingQuestions.explanation):
        item = asked_of(scene, question)
        if question.startswith("When"):
            assert answer.endswith(
                f"leaves at {item.leave_s:.1f}s. From {item.enter_s:.1f}s to {item.leave_s:.1f}s"
            )
        else:
            assert answer.endswith(f". It is the {item.name}.")
            assert re.search(rf"{item.name} at {BOX} at [\d.]+s", answer)
    for _, question, answer in answered(PretrainingQuestions.explanation, LOOSE):
        if question.startswith("When"):
            *_, a, b, c, d = re.findall(r"\d+\.\d+(?=s)", answer)
            assert (a, b) == (c, d)


def test_shapes_in_view_are_listed_from_left_to_right():
    lists, empty = 0, 0
    for scene, question, answer in answered(PretrainingQuestions.what):
        there = [item.name for item in seen(scene, float(re.search(r"[\d.]+(?= seconds)", question)[0]))]
        if question.startswith("List"):
            assert answer == (", ".join(there) or "none")
            lists += 1
        else:
            assert answer == (" and ".join(f"the {name}" for name in there) or "no shape")
        empty += not there
    assert lists > 50
    assert empty > 5


def test_locations_are_those_of_the_visible_shapes():
    kinds = set()
    for scene, question, answer in answered(PretrainingQuestions.locations, LOOSE):
        time = time_asked(question) or float(re.search(r"at ([\d.]+) seconds", question)[1])
        there = seen(scene, time)
        if answer == "no shape":
            assert not there
            continue
        items = [item for item, _, _ in labelled_boxes(scene, question, answer, time)]
        one = question.startswith("Where is ")
        assert items == ([item for item in items if item in there] if one else there)
        assert len(items) == 1 or not one
        kinds.add((one, answer.startswith("{"), question.endswith("Answer as JSON.")))
    assert kinds == {(True, False, False), (False, True, True), (False, False, False)}


def test_narrations_are_in_order():
    kinds = set()
    for scene, question, answer in answered(PretrainingQuestions.narration):
        key = "leave_s" if "leaves, " in question else "enter_s"
        ordered = sorted(scene.objects, key=lambda item: getattr(item, key))
        names = [
            name for name in re.findall(r"(?:[Tt]he |\")(\w+ \w+)", answer) if fitting(scene, f"the {name}")
        ]
        assert names == [item.name for item in ordered]
        kinds.add(question)
        if question.startswith("Tell who"):
            verb = "leaves" if key == "leave_s" else "comes"
            assert f"s {verb} first." in answer.partition(f"Next {verb}")[0]
            assert answer.count(f"Next {verb} the ") == len(ordered) - 1
    assert len(kinds) == 4


def test_where_questions_are_answered_for_the_requested_seconds():
    untimed = 0
    for scene, question, answer in answered(PretrainingQuestions.where, LOOSE):
        item = named(scene, re.match(r"Where is the (\w+ \w+)\?", question)[1])
        seconds = [int(second) for second in read_where(answer, RELATIVE_1000)]
        within = [second for second in range(60) if item.enter_s <= second <= item.leave_s]
        if listed := re.search(r"for the seconds ([\d, ]+) as JSON", question):
            assert seconds == [int(second) for second in listed[1].split(", ")]
            assert set(seconds) <= set(within)
        else:
            assert f"Choose the {len(within)} whole seconds" in question
            assert seconds == within
            untimed += 1
    assert untimed > 20


def test_counts_and_directions_are_true():
    words = ["two", "three", "four", "five", "six"]
    for scene, question, answer in answered(PretrainingQuestions.count_or_motion):
        if question == "How many shapes come into view?":
            assert words.index(answer) + 2 == len(scene.objects)
        else:
            moves = named(scene, re.fullmatch(r"Which way does the (.*) move\?", question)[1]).velocity
            ways = {(1, 0): "right", (-1, 0): "left", (0, 1): "down", (0, -1): "up", (0, 0): "it stays"}
            assert answer == ways[tuple(np.sign(moves))]


def test_an_echo_repeats_the_given_text():
    pairs = answered(PretrainingQuestions.echo)
    assert all(question == f"Repeat: {answer}" for _, question, answer in pairs)
    text = "".join(answer for _, _, answer in pairs)
    assert set(TAG.findall(text)) == {
        f"<{s}{n}>" for n in ("think", "answer", "obj", "box", "t") for s in ("", "/")
    }


def test_answers_about_pictures_have_no_times():
    kinds = set()
    for scene, time, question, answer in asked_about_pictures(LOOSE):
        there = seen(scene, time)
        line, _, instruction = question.partition("\n")
        boxes = labelled_boxes(scene, question, answer, time)
        if question == "Which shapes are in the picture?":
            assert answer == " and ".join(f"the {item.name}" for item in there)
        elif question.startswith("Where are the shapes?"):
            assert [item for item, _, _ in boxes] == there
        elif instruction:
            assert instruction == INSTRUCTIONS[Task.VISUAL]
            said = parse_completion(answer, RELATIVE_1000)
            assert said.text == format_completion(said.reasoning, said.answer)
            assert not said.times_s
            phrase = re.fullmatch(r"Where is (.*)\?", line)[1]
            item = meant(scene, f"{phrase} at {time} seconds" if "shape" in phrase else phrase)
            assert len(said.claims) == (2 if "shape" in phrase else 1)
            assert said.claims[-1].name == item.name
            assert parse_claims(said.answer, RELATIVE_1000) == said.claims[-1:]
        else:
            [(item, _, _)] = boxes
            assert question == f"Where is the {item.name}?"
        kinds.add((line.split()[1], bool(instruction), "shape " in line))
    assert len(kinds) == 5


def test_an_empty_picture_gives_no_question():
    empty = 0
    for scene in SCENES:
        for time in np.arange(0, scene.duration_s, 0.5):
            if not seen(scene, time):
                empty += 1
                assert PretrainingQuestions(scene, np.random.default_rng(0)).picture(time) is None
    assert empty > 10


def test_every_kind_of_question_occurs():
    methods = {
        each
        for name, each in vars(PretrainingQuestions).items()
        if callable(each) and not name.startswith("_")
    }
    assert set(SHARES) == methods - {PretrainingQuestions.picture}
    rng = np.random.default_rng(0)
    asked = [pair for scene in SCENES for pair in draw_questions(scene, 12, rng)]
    assert len(asked) == 12 * len(SCENES)
    assert all(question and answer for question, answer in asked)
    assert len({question for question, _ in asked}) > 600
    starts = {" ".join(question.split()[:2]) for question, _ in asked}
    assert starts >= {"Which shapes", "When is", "Where is", "Where are", "Tell what", "Tell who", "What is",
                      "How many", "Which way"}  # fmt: skip


def test_noise_changes_no_question():
    loose, exact = (
        [draw_questions(scene, 6, np.random.default_rng(n), noise) for n, scene in enumerate(SCENES)]
        for noise in (LOOSE, EXACT)
    )
    differing = 0
    for pairs, others in zip(loose, exact, strict=True):
        assert [question for question, _ in pairs] == [question for question, _ in others]
        differing += sum(answer != other for (_, answer), (_, other) in zip(pairs, others, strict=True))
    assert differing > 150
