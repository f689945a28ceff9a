"""The ablation: its numbers are those of the metrics files, and what is not a number is said."""

import math

import pytest

from openo3.artifacts import read_json
from openo3.metrics import Interval
from openo3.report.inputs import MODELS
from openo3.report.tables import COLUMNS, Cell, ablation, difference_cell, markdown, measured_cell


@pytest.mark.parametrize("benchmark", ["vstar", "tvgbench", "videomme"])
def test_every_number_is_the_metrics_file_s(folder, inputs, benchmark):
    table = ablation(inputs, benchmark)
    assert [title for title, _ in table.groups] == [
        "Greedy decoding",
        "Sampled at temperature 1",
        "Plain: greedy, asked without the grammar's instruction",
        "Blind: frames blanked",
    ]
    for (_, rows), decoding in zip(table.groups, ("greedy", "sampled", "plain", "blind"), strict=True):
        for model, row in zip(MODELS, rows, strict=False):
            metrics = read_json(folder / f"metrics/evaluate/{model}.json")[benchmark][decoding]
            assert (row.name, row.style) == (MODELS[model], f"{model} {decoding}")
            assert [cell.text for cell in row.cells] == [
                f"{100 * metrics[key]:.1f}" for key, _, _ in COLUMNS[benchmark]
            ]
            low, high = metrics["intervals"]["format"]
            assert row.cells[-1].interval == f"[{100 * low:.1f}, {100 * high:.1f}]"


def test_the_best_is_marked_within_its_decoding_and_never_of_the_blind(inputs):
    for title, rows in ablation(inputs, "vstar").groups:
        models = [row for row in rows if row.style != "difference"]
        for column in zip(*(row.cells for row in models), strict=True):
            best = [cell for cell in column if cell.mark == "best"]
            expected = {cell.value for cell in column if cell.value == max(c.value for c in column)}
            assert {cell.value for cell in best} == (set() if title.startswith("Blind") else expected)


def test_differences_are_those_of_the_rows_above(inputs):
    base, sft, gspo, first, second = ablation(inputs, "vstar").groups[0][1]
    assert (first.name, second.name) == ("SFT vs Base", "GSPO vs SFT")
    for before, after, row in ((base, sft, first), (sft, gspo, second)):
        for a, b, difference in zip(before.cells, after.cells, row.cells, strict=True):
            if difference is not None:
                assert difference.value == pytest.approx(b.value - a.value)


@pytest.mark.parametrize(
    ("gain", "text", "interval", "mark"),
    [
        (Interval(0.041, 0.01, 0.07), "+4.1", "[+1.0, +7.0]", "up"),
        (Interval(-0.041, -0.07, -0.01), "-4.1", "[-7.0, -1.0]", "down"),
        (Interval(0.0, -0.01, 0.02), "+0.0", "[-1.0, +2.0]", ""),
        (Interval(math.inf, 0.3, math.inf), "∞", "[+30.0, ∞]", "up"),
        (Interval(0.3, math.nan, math.nan), "+30.0", "[?, ?]", ""),
    ],
)
def test_differences_say_what_is_known(gain, text, interval, mark):
    cell = difference_cell(gain)
    assert (cell.text, cell.interval, cell.mark) == (text, interval, mark)


def test_unknown_and_infinite_numbers():
    assert difference_cell(Interval(math.nan, math.nan, math.nan)) is None
    assert measured_cell({"acc": 1.0}, "mAM") is None
    perfect = measured_cell({"mLGM": None, "intervals": {"mLGM": [1.5, None]}}, "mLGM")
    assert perfect == Cell(math.inf, 150.0, math.inf)
    assert (perfect.text, perfect.interval) == ("∞", "[150.0, ∞]")


def test_markdown_holds_the_same_numbers_and_fits_a_terminal(inputs):
    text = markdown(inputs)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    for _, rows in ablation(inputs, "vstar").groups:
        for row in rows[:3]:
            assert all(f"{cell.text}" in text and cell.interval in text for cell in row.cells)
    bars = [line.count("|") for line in lines if line.startswith("|")]
    assert set(bars) == {5, 6}  # three models, and the difference where frames were seen
    assert "| mAM " in text
    assert "**" in text
