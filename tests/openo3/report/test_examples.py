"""Which questions are shown, and what is drawn of them."""

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest

from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS
from openo3.report.examples import choose, query
from openo3.report.examples import example as make_example


def test_the_rule_in_turn_and_no_video_twice():
    scores = {
        "base": [0.1, 0.5, 0.5, 0.6, 0.2, 0.4],
        "sft": [0.5, 0.5, 0.9, 0.6, 0.1, 0.5],
        "gspo": [0.9, 0.5, 0.6, 0.6, 0.0, 0.95],
    }
    media = ["a", "b", "c", "d", "e", "a"]
    assert choose(scores, media, 10) == [
        ("Gained over base", 0),  # +0.8; record 5 is of the same video
        ("Typical", 2),  # the first of the median
        ("Lost against SFT", 4),
        ("Failure", 1),
        ("Typical", 3),  # nothing else gained or lost
    ]
    assert choose(scores, media, 2) == [("Gained over base", 0), ("Typical", 2)]


def test_a_role_without_a_case_is_passed_over():
    scores = {"base": [0.9, 0.9], "sft": [0.9, 0.9], "gspo": [0.9, 0.9]}
    assert choose(scores, ["a", "b"], 4) == [("Typical", 0), ("Typical", 1)]
    assert choose({model: [] for model in scores}, [], 4) == []


def scores_of(inputs, benchmark, index):
    results = {model: inputs.results[inputs.key(model, benchmark)] for model in CHECKPOINTS}
    return {model: BENCHMARKS[benchmark].scoring.records(found)[index] for model, found in results.items()}


@pytest.fixture(scope="module")
def example(inputs, frames):
    return make_example("vstar", inputs, frames["vstar"], scores_of(inputs, "vstar", 1), "Typical", 1)


def test_an_example_shows_every_model_with_its_scores(inputs, example):
    assert [column.model for column in example.columns] == list(CHECKPOINTS)
    for column, score in zip(example.columns, scores_of(inputs, "vstar", 1).values(), strict=True):
        assert column.scores == f"when {score['tIoU_1']:.2f} · where {score['vIoU_1']:.2f}"
        assert column.correct == (score["acc"] == 1)
        assert [kind for kind, _ in column.completions] == ["what", "when", "where", "where_2", "when_2"]


def test_the_base_is_shown_as_it_answers_plainly(inputs, example):
    base, *others = example.columns
    assert base.asked.name == "plain"
    assert dict(base.completions) == {
        kind: line["completion"] for kind, line in inputs.answers["base", "vstar", "plain"][1].items()
    }
    assert "none was asked for" in base.reasoning
    assert base.evidence == []
    assert len(base.where) > 0
    assert {column.asked.name for column in others} == {"greedy"}
    bars = [r for r in ElementTree.fromstring(example.timeline).iter("rect") if r.get("class") == "bar"]
    assert len(bars) == 4  # the truth and three answers: the base's could be read


def test_what_a_model_in_the_grammar_does_not_say_is_said(inputs, frames):
    results = {key: found for key, found in inputs.results.items() if key[2] != "plain"}
    asked_alike = dataclasses.replace(inputs, results=results)
    example = make_example(
        "vstar", asked_alike, frames["vstar"], scores_of(asked_alike, "vstar", 1), "Typical", 1
    )
    assert example.columns[0].asked.name == "greedy"
    assert "no reasoning block" in example.columns[0].reasoning


def test_claims_boxes_and_dots_share_their_keys(example):
    gspo = example.columns[2]
    chips, drawn, dots = (
        {element.get("data-claim") for element in ElementTree.fromstring(f"<p>{markup}</p>").iter()} - {None}
        for markup in (gspo.reasoning, "".join(gspo.evidence), example.timeline)
    )
    assert chips == drawn == {"vstar-1-gspo-what-1", "vstar-1-gspo-what-2"}
    assert chips < dots


def test_where_pictures_hold_truth_and_answer_of_their_second(inputs, example):
    record = inputs.results["gspo", "vstar", "greedy"][1]
    assert len(example.columns[2].where) == min(3, len(record["bboxes"]))
    for figure in example.columns[2].where:
        tree = ElementTree.fromstring(figure)
        assert [group.get("class") for group in tree.iter("g")] == ["mark true", "mark predicted"]
        second = float(tree.find("figcaption").text.split()[1].rstrip(":"))
        x1, *_ = BENCHMARKS["vstar"].truth(record).boxes[second]
        assert float(tree.find("svg/g/rect").get("x")) == pytest.approx(x1 * 240, abs=0.01)


def test_true_boxes_are_normalised(inputs):
    record = inputs.results["base", "vstar", "greedy"][0]
    found = BENCHMARKS["vstar"].truth(record).boxes
    first = record["bboxes"][0]
    assert found[first["timestamp"]][0] == first["xmin"] / record["width"]
    assert found[first["timestamp"]][3] == first["ymax"] / record["height"]


def test_a_question_with_options_shows_what_each_model_chose_and_cites(inputs, frames):
    scores = scores_of(inputs, "videomme", 4)
    example = make_example("videomme", inputs, frames["videomme"], scores, "Typical", 4)
    assert example.options == ["A. red circle", "B. blue square", "C. yellow circle"]
    assert example.truth == "B. blue square"
    assert example.meta.startswith("Video-MME · medium · ")
    for column, (model, score) in zip(example.columns, scores.items(), strict=True):
        assert column.correct == (inputs.results[inputs.key(model, "videomme")][4]["said"] == "B")
        assert column.correct == (score["acc"] == 1)
        assert (column.when, column.where, column.scores) == (None, (), "")
    gspo = example.columns[2]
    chips, drawn = (
        {element.get("data-claim") for element in ElementTree.fromstring(f"<p>{markup}</p>").iter()} - {None}
        for markup in (gspo.reasoning, "".join(gspo.evidence))
    )
    assert chips == drawn == {"videomme-4-gspo-which-1", "videomme-4-gspo-which-2"}


def test_a_query_about_a_span_shows_four_tracks(inputs):
    scores = {model: score["m_tIoU"] for model, score in scores_of(inputs, "tvgbench", 0).items()}
    found = query("tvgbench", inputs, scores, 0)
    bars = [r for r in ElementTree.fromstring(found.timeline).iter("rect") if r.get("class") == "bar"]
    assert len(bars) == 4
    assert (
        found.scores
        == f"tIoU: Base {scores['base']:.2f} · SFT {scores['sft']:.2f} · GSPO {scores['gspo']:.2f}"
    )
