"""Annotation rows are exact where they should be, and elsewhere noisy by the requested amount."""

import re
from collections import Counter

import numpy as np
import pytest

from openo3.annotations import stgr
from openo3.core.evidence import parse_boxes, parse_claims, parse_span
from openo3.core.schema import STGR_TASKS, Sample, Task
from openo3.shapes.annotate import key_frame_index, row_of_picture, rows_of_clip
from openo3.shapes.clips import Clip, frame_count
from openo3.shapes.noise import LabelNoise
from openo3.shapes.scene import Object
from tests.openo3.shapes.descriptions import ASKED, ORDER, description, fitting, unfolded

NONE = LabelNoise(box_sigma=0, box_loosen=0, span_sigma_s=0, span_loosen_s=0, time_share=0)
COUNT = 150


def samples(noise: LabelNoise) -> tuple[list[tuple[Clip, Sample]], list[tuple[Clip, Sample]]]:
    """Parsed rows of the SFT and the RL file, with their clips."""
    files: tuple[list, list] = ([], [])
    for index in range(COUNT):
        clip = Clip.sample(5, "train", index)
        for file, rows in zip(files, rows_of_clip(clip, 2, noise), strict=True):
            file += [(clip, stgr.parse(row)) for row in rows]
        clip = Clip.sample(5, "still", index)
        file = files[index % 2]
        file.append((clip, stgr.parse(row_of_picture(clip, None if index % 2 else noise)[0])))
    return files


EXACT_SFT, RL = samples(NONE)
NOISY_SFT, SAME_RL = samples(LabelNoise())


def shape(clip: Clip, name: str) -> Object:
    [item] = [item for item in clip.scene.objects if item.name == name]
    return item


def test_noise_changes_neither_the_rl_file_nor_questions():
    assert [sample for _, sample in RL] == [sample for _, sample in SAME_RL]
    for (_, exact), (_, noisy) in zip(EXACT_SFT, NOISY_SFT, strict=True):
        assert (exact.id, exact.question, exact.key_frames) == (noisy.id, noisy.question, noisy.key_frames)
        assert exact.answer == noisy.answer or exact.task is Task.TEMPORAL


def test_key_items_are_wrong_where_the_reasoning_is():
    for (_, exact), (_, noisy) in zip(EXACT_SFT, NOISY_SFT, strict=True):
        if exact.task is Task.TEMPORAL_SPATIAL:
            assert noisy.key_items != exact.key_items
            frames = {round(frame.time_s, 1): frame.idx for frame in exact.key_frames}
            said = {}
            for true, claim in zip(parse_claims(exact.reasoning), parse_claims(noisy.reasoning), strict=True):
                said[frames[true.time_s], claim.name] = claim.boxes[0]
            assert len(said) == len(parse_claims(noisy.reasoning))  # no shape is claimed twice at a moment
            items = [
                (idx, name, box) for idx, each in noisy.key_items.items() for name, [box] in each.items()
            ]
            assert said == {(idx, name): pytest.approx(box, abs=0.5001e-3) for idx, name, box in items}


def test_tasks_match_those_of_the_published_files():
    assert {sample.task for _, sample in EXACT_SFT} == set(STGR_TASKS) - {Task.TEMPORAL_MCQ}
    assert {sample.task for _, sample in RL} == set(STGR_TASKS)
    counts = Counter(sample.task for _, sample in EXACT_SFT)
    assert counts.most_common(1)[0][0] is Task.TEMPORAL_SPATIAL


def test_no_file_repeats_a_question_about_a_clip():
    for file in (EXACT_SFT, RL):
        asked = Counter((sample.media, sample.question.partition("\n")[0]) for _, sample in file)
        assert asked.most_common(1)[0][1] == 1
    assert max(Counter(sample.id for _, sample in EXACT_SFT + RL).values()) == 1


def family(phrase: str) -> str:
    """The kind of a description: its steps, if it has several."""
    steps = len(unfolded(phrase)) - (not ORDER.fullmatch(unfolded(phrase)[0]))
    if ORDER.fullmatch(phrase) or steps > 1:
        return f"{steps} steps" if steps > 1 else "order"
    return re.search("come into view|leave|hides|left of|right of|above|below", phrase)[0]


def test_both_files_have_questions_of_every_family():
    for file in (EXACT_SFT, RL):
        questions = [sample.question for _, sample in file if sample.task is not Task.VISUAL]
        phrases = [description(text) for text in questions if ASKED.fullmatch(text.partition("\n")[0])]
        asked = Counter(map(family, phrases))
        sides = sum(asked.pop(side, 0) for side in ("left of", "right of", "above", "below"))
        kinds = {"order", "come into view", "leave", "hides", "2 steps", "3 steps"}
        assert asked.keys() == kinds
        assert min(sides, *asked.values()) > 0.02 * len(phrases)
        composed = asked["2 steps"] + asked["3 steps"]
        assert 0.5 < composed / len(phrases) < 0.8


def test_described_shapes_are_the_answers():
    asked = set()
    for clip, sample in EXACT_SFT + RL:
        found = ASKED.fullmatch(sample.question.partition("\n")[0])
        if found and found["ask"] == "When":
            [item] = fitting(clip.scene, description(sample.question))
            if not sample.reasoning:
                assert parse_span(sample.answer) == (item.enter_s, item.leave_s)
        elif found and sample.task in (Task.TEMPORAL_SPATIAL, Task.MCQ):
            [item] = fitting(clip.scene, description(sample.question))
            asked.add((sample.task, bool(found["way"])))
            if sample.task is Task.TEMPORAL_SPATIAL:
                assert sample.answer == f"the {item.name}"
            else:
                assert f"\n{sample.answer}. {item.name}\n" in f"{sample.question}\n"
    assert len(asked) == 4  # both tasks, of one step and of several


def test_only_sft_rows_have_reasoning():
    assert all(sample.reasoning for _, sample in EXACT_SFT)
    assert not any(sample.reasoning for _, sample in RL)


def test_key_items_are_the_scene_at_a_frame_of_the_clip():
    for clip, sample in EXACT_SFT + RL:
        assert bool(sample.key_frames) == (sample.task is Task.TEMPORAL_SPATIAL)
        for frame in sample.key_frames:
            index = key_frame_index(frame.path)
            assert 0 <= index < frame_count(clip.scene)
            assert frame.time_s == round(clip.frame_time(index), 3)
            for name, [box] in sample.key_items[frame.idx].items():
                item = shape(clip, name)
                assert item.in_view(clip.frame_time(index))
                assert box == pytest.approx(clip.scene.box(item, clip.frame_time(index)), abs=1e-6)


def test_spans_are_those_of_one_shape_and_the_option_names_it():
    for clip, sample in EXACT_SFT + RL:
        if sample.task in (Task.TEMPORAL, Task.TEMPORAL_MCQ):
            [item] = [o for o in clip.scene.objects if (o.enter_s, o.leave_s) == parse_span(sample.answer)]
            assert f"the {item.name}" not in sample.question
            if sample.task is Task.TEMPORAL_MCQ:
                assert f"\n{sample.answer[-1]}. {item.name}" in sample.question
            elif sample.reasoning:
                start, end = (f"<t>{time}</t>s" for time in (item.enter_s, item.leave_s))
                said = f"The {item.name} comes into view at {start} and leaves at {end}."
                assert sample.reasoning.endswith(f". {said}")


def test_exact_claims_are_the_scene():
    cited = 0
    for clip, sample in EXACT_SFT:
        for claim in parse_claims(sample.reasoning):
            item = shape(clip, claim.name)
            if sample.task is Task.VISUAL:
                assert claim.time_s is None
                continue
            index = min(range(frame_count(clip.scene)), key=lambda i: abs(clip.frame_time(i) - claim.time_s))
            near = [clip.scene.box(item, clip.frame_time(index + step)) for step in (-1, 0, 1)]
            assert min(np.abs(np.subtract(claim.boxes[0], box)).max() for box in near) < 0.03
            cited += 1
        assert len(parse_claims(sample.reasoning)) <= 4
    assert cited > COUNT


def test_reasoning_reads_as_sentences():
    for _, sample in EXACT_SFT:
        assert "{" not in sample.reasoning
        for start in re.findall(r"(?:^|\. )(\w)", sample.reasoning):
            assert start.isupper()


def test_answers_about_directions_counts_and_colours_are_true():
    for clip, sample in EXACT_SFT + RL:
        if sample.task is not Task.FREE_FORM:
            continue
        if found := re.fullmatch(r"Which way does the (.*) move\?", sample.question):
            assert sample.answer == (shape(clip, found[1]).direction or "it stays")
        elif found := re.fullmatch(r"What colour is the (.*)\?", sample.question):
            [item] = [item for item in clip.scene.objects if item.shape == found[1]]
            assert sample.answer == item.colour
        else:
            assert ["two", "three", "four", "five", "six"].index(sample.answer) + 2 == len(clip.scene.objects)


def test_boxes_of_a_picture_are_exact_to_a_pixel():
    for clip, sample in EXACT_SFT + RL:
        if sample.task is Task.VISUAL:
            name = re.search("<obj>(.*)</obj>", sample.answer)[1]
            time = clip.frame_time(key_frame_index(sample.media))
            [box] = parse_boxes(sample.answer)
            off = np.subtract(box, clip.scene.box(shape(clip, name), time)) * (*sample.size, *sample.size)
            assert np.abs(off).max() <= 0.5 + 1e-6


def test_labels_have_the_requested_noise():
    sides, ends, shifted = [], [], []
    for (clip, exact), (_, noisy) in zip(EXACT_SFT, NOISY_SFT, strict=True):
        if exact.task is Task.TEMPORAL:
            said, true = parse_span(noisy.answer), parse_span(exact.answer)
            assert all(f"<t>{time}</t>s" in noisy.reasoning for time in said)
            duration_s = clip.scene.duration_s
            assert 0 <= said[0] < said[1] <= duration_s
            ends += [true[0] - said[0]] if true[0] >= 3 else []
            ends += [said[1] - true[1]] if true[1] <= duration_s - 3 else []
            continue
        claims = list(zip(parse_claims(exact.reasoning), parse_claims(noisy.reasoning), strict=True))
        for true, said in claims:
            inside = [0.1 < value < 0.9 for value in true.boxes[0]]
            off = np.subtract(said.boxes[0], true.boxes[0]) * (-1, -1, 1, 1)
            sides += [error for error, kept in zip(off, inside, strict=True) if kept]
        if exact.task is not Task.VISUAL:
            off = [abs(said.time_s - true.time_s) for true, said in claims]
            assert all(value < 1.11 for value in off)
            shifted.append(max(off) > 0.05)
    assert len(ends) > 50
    assert len(shifted) > 200
    noise = LabelNoise()
    assert np.mean(ends) == pytest.approx(noise.span_loosen_s, abs=0.2)
    assert np.std(ends) == pytest.approx(noise.span_sigma_s, abs=0.12)
    assert np.mean(sides) == pytest.approx(noise.box_loosen, abs=0.003)
    assert np.std(sides) == pytest.approx(noise.box_sigma, abs=0.004)
    assert np.mean(shifted) == pytest.approx(noise.time_share, abs=0.09)


def test_a_box_stays_in_the_frame_whatever_the_noise():
    rng = np.random.default_rng(0)
    noise = LabelNoise(box_sigma=0.5, box_loosen=-0.2)
    for _ in range(2000):
        x1, y1, x2, y2 = noise.box((0.0, 0.4, 0.1, 0.6), rng)
        assert 0 <= x1 < x2 <= 1
        assert 0 <= y1 < y2 <= 1


def test_a_span_stays_in_the_clip_whatever_the_noise():
    rng = np.random.default_rng(0)
    noise = LabelNoise(span_sigma_s=3.0, span_loosen_s=-1.0)
    for _ in range(2000):
        start, end = noise.span((0.5, 3.0), 4.25, rng)
        assert 0 <= start <= end - 0.5 <= 4.25 - 0.5
