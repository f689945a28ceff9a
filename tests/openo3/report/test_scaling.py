"""The section about votes shows the numbers of the metrics file and says what its intervals bear out."""

import dataclasses

import pytest

from openo3.core.selective import curve
from openo3.report.charts import CoverageCurve, coverage_chart
from openo3.report.scaling import scalings
from openo3.report.tables import markdown, scaling_table
from tests.openo3.report.test_charts import polylines
from tests.openo3.report.test_tables import without


@pytest.fixture(scope="module")
def found(inputs):
    [found] = scalings(inputs)
    return found


def test_the_table_has_the_levels_of_the_metrics_file_and_their_differences(inputs, found):
    table = scaling_table(found)
    assert [column.heading for column in table.columns] == ["One sample", "Greedy", "Voted@5", "Confident@5"]
    rows = {metric[0]: cells for metric, cells in table.rows}
    blocks = inputs.metrics["gspo"]["vstar"]
    levels = [blocks["voted"]["single"], *(blocks[way]["acc"] for way in ("greedy", "voted", "confident"))]
    assert [cell.value for cell in rows["acc"]] == pytest.approx([100 * level for level in levels])
    assert rows["voted"][3].value == pytest.approx(100 * (levels[3] - levels[2]))
    assert rows["single"][2].value == pytest.approx(100 * (levels[2] - levels[0]))
    assert rows["area"][:2] == (None, None)
    assert rows["area"][2].value == 100 * blocks["voted"]["area"]


def test_what_is_said_follows_the_intervals(found):
    table = scaling_table(found)
    rows = {metric[0]: cells for metric, cells in table.rows}
    verbs = {"up": "raises What", "down": "lowers What", "": "does not significantly differ in What"}
    text = " ".join(found.sentences)
    assert f"Weighting samples by their evidence {verbs[rows['voted'][3].mark]}" in text
    assert f"({rows['voted'][3]})" in text
    assert "of which 100 % are right" in text  # the finished run rates right answers 2, others 0
    assert "A record costs 5 completions of 500 tokens in all" in text


def test_if_nearly_all_weights_are_equal_it_is_said(inputs):
    metrics = {model: dict(found) for model, found in inputs.metrics.items()}
    ratings = {name: {"share": 0.0, "right": None} for name in ("1", "2")}
    ratings |= {"0": {"share": 0.6, "right": 0.5}, "none": {"share": 0.4, "right": 0.5}}
    confident = metrics["gspo"]["vstar"]["confident"] | {"ratings": ratings}
    metrics["gspo"]["vstar"] = metrics["gspo"]["vstar"] | {"confident": confident}
    [found] = scalings(dataclasses.replace(inputs, metrics=metrics))
    assert "Nearly all of these samples have the same weight" in " ".join(found.sentences)
    assert "Another 40 % cite nothing usable." in found.sentences


def test_without_votes_there_is_no_section(inputs):
    assert "## Test-time scaling: V-STaR, GSPO" in markdown(inputs)
    assert "Test-time scaling" not in markdown(without(inputs, "voted", "confident"))
    [alone] = scalings(without(inputs, "confident", "greedy", models=("gspo",)))
    assert list(alone.columns) == ["One sample", "Voted@5"]


def test_a_coverage_curve_starts_level_and_ends_at_the_accuracy_of_all():
    points = curve([0.9, 0.9, 0.5, 0.1], [1, 0, 1, 0])
    [line] = polylines(coverage_chart("coverage", [CoverageCurve("Voted", "voted", points)]))
    assert len(line) == len(points) + 1
    assert line[0][1] == line[1][1]
    assert [x for x, _ in line] == sorted(x for x, _ in line)
