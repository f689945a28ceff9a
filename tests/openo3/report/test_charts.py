"""Charts place their numbers correctly, and their markup is well formed."""

import json
import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.report.charts import (
    HEIGHT,
    MAX_POINTS,
    WIDTH,
    Estimate,
    bin_shares,
    histogram,
    interval_plot,
    line_chart,
    moving_average,
    ticks,
)

numbers = st.floats(-1e6, 1e6, allow_nan=False)


def polylines(figure: str) -> list[list[tuple[float, float]]]:
    lines = ElementTree.fromstring(figure).iter("polyline")
    return [[tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in lines]


@given(st.lists(numbers, min_size=1, max_size=600))
def test_a_curve_stays_inside_its_chart(values):
    raw, average = polylines(line_chart("loss", [float(k) for k in range(len(values))], values))
    assert len(raw) == len(average) <= MAX_POINTS
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in raw + average)
    assert [x for x, _ in raw] == sorted(x for x, _ in raw)


def test_a_curve_carries_its_numbers_and_its_last_value():
    figure = ElementTree.fromstring(line_chart("loss", [1.0, 2.0, 3.0], [3.0, 1.5, 0.25]))
    data = json.loads(figure.find("svg").get("data-chart"))
    assert (data["x"], data["y"]) == ([1.0, 2.0, 3.0], ["3", "1.5", "0.25"])
    assert figure.find("figcaption/output").text == "0.25"
    assert "from 3 to 0.25" in figure.find("svg").get("aria-label")


def test_a_fixed_range_is_kept_whatever_the_data():
    lower, higher = (
        polylines(line_chart("r", [1.0, 2.0], ys, y_range=(0, 1)))[0] for ys in ([0, 0.5], [1, 0.5])
    )
    assert lower[1] == higher[1]
    assert lower[0][1] > higher[0][1]


def test_an_empty_log_is_stated():
    assert "nothing was logged" in line_chart("kl", [], [])


@given(st.lists(st.floats(0, 1), min_size=1))
def test_every_value_falls_into_one_bin(values):
    assert math.isclose(sum(bin_shares(values)), 1)


def test_a_histogram_has_a_text_alternative():
    figure = ElementTree.fromstring(histogram("SFT", [0.0, 0.95, 1.0], "sft", peak=1.0))
    assert figure.find("figcaption/output").text == "mean 0.65"
    assert "33%, 0%" in figure.find("svg").get("aria-label")


@pytest.mark.parametrize("high", [12.0, math.inf])
def test_an_interval_ends_at_its_bound_or_at_the_edge(high):
    plot = ElementTree.fromstring(interval_plot("t", [("mLGM", [Estimate("SFT", 10.0, 8.0, high, "sft")])]))
    line = next(line for line in plot.iter("line") if line.get("class") == "interval")
    edge = max(float(line.get("x2")) for line in plot.iter("line") if line.get("x1") == line.get("x2"))
    circle = float(next(plot.iter("circle")).get("cx"))
    assert float(line.get("x1")) < circle < float(line.get("x2")) <= edge
    assert (float(line.get("x2")) == edge) == math.isinf(high)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_within_the_range(low, span):
    found = ticks(low, low + span)
    assert len(found) <= 9
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)


def test_moving_average_keeps_length_and_constants():
    assert moving_average([2.0] * 5, window=3) == [2.0] * 5
    assert moving_average([0.0, 3.0, 0.0], window=3) == [1.5, 1.0, 1.5]
    assert moving_average([]) == []
