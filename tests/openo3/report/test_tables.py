"""The tables show the numbers of the metrics files, the base with plain prompts, and what is missing."""

import dataclasses
import math

import pytest

from openo3.benchmarks import registry
from openo3.checkpoints import CHECKPOINTS
from openo3.core.metrics import Interval
from openo3.files.artifacts import read_json
from openo3.report.comparison import (
    Cell,
    difference_cell,
    further_comparisons,
    main_comparison,
    measured_cell,
)
from openo3.report.tables import markdown, section

NAMES = ["vstar", "tvgbench", "videomme"]


def without(inputs, *conditions, models=tuple(CHECKPOINTS)):
    """The inputs without these conditions."""
    metrics = {
        model: {
            name: {k: v for k, v in found.items() if k not in conditions or model not in models}
            for name, found in benchmarks.items()
        }
        for model, benchmarks in inputs.metrics.items()
    }
    results = {k: v for k, v in inputs.results.items() if k[2] not in conditions or k[0] not in models}
    return dataclasses.replace(inputs, metrics=metrics, results=results)


def section_of(inputs, benchmark):
    return section(inputs, main_comparison(inputs, benchmark))


@pytest.mark.parametrize("benchmark", NAMES)
def test_the_main_table_shows_the_base_with_plain_prompts_and_the_others_with_grammar(
    folder, inputs, benchmark
):
    table = section_of(inputs, benchmark).main
    assert [column.heading for column in table.columns] == [
        "Base (asked plainly)",
        "SFT",
        "GSPO",
        "SFT \N{MINUS SIGN} Base",
        "GSPO \N{MINUS SIGN} Base",
        "GSPO \N{MINUS SIGN} SFT",
    ]
    asked = {"base": "plain", "sft": "greedy", "gspo": "greedy"}
    for column, (model, condition) in zip(table.columns, asked.items(), strict=False):
        metrics = read_json(folder / f"metrics/evaluate/{model}.json")[benchmark][condition]
        for (key, _, _), cell in zip(
            registry.BENCHMARKS[benchmark].display.columns, column.cells, strict=True
        ):
            if (model, key) == ("base", "format"):
                assert cell is None
                continue
            low, high = (math.inf if end is None else 100 * end for end in metrics["intervals"][key])
            assert (cell.value, cell.low, cell.high) == (100 * metrics[key], low, high)


@pytest.mark.parametrize("benchmark", NAMES)
def test_differences_match_the_columns(inputs, benchmark):
    base, sft, gspo, *differences = section_of(inputs, benchmark).main.columns
    for (after, before), difference in zip(
        ((sft, base), (gspo, base), (gspo, sft)), differences, strict=True
    ):
        for a, b, cell in zip(after.cells, before.cells, difference.cells, strict=True):
            assert (cell is None) == (a is None or b is None)
            if cell:
                assert cell.value == pytest.approx(a.value - b.value)
                assert cell.mark == ("up" if cell.low > 0 else "down" if cell.high < 0 else "")


def test_smaller_tables_use_one_condition_for_all_models(inputs):
    tables = {table.title: table for table in section_of(inputs, "vstar").further}
    assert {title: [c.heading for c in table.columns] for title, table in tables.items()} == {
        "All asked plainly": ["Base", "SFT", "GSPO", "SFT − Base", "GSPO − Base", "GSPO − SFT"],  # noqa: RUF001
        "All asked in the grammar, sampled at temperature 1": ["Base", "SFT", "GSPO", "GSPO − SFT"],  # noqa: RUF001
        "All asked in the grammar, frames blanked": ["Base", "SFT", "GSPO"],
    }
    for found in further_comparisons(inputs, "vstar"):
        (condition,) = set(found.asked.values())
        for model, levels in found.levels.items():
            assert levels["mAM"].value == 100 * inputs.metrics[model]["vstar"][condition.name]["mAM"]
    assert "format" not in {key for key, _, _ in tables["All asked plainly"].metrics}


def test_the_footnote_gives_the_base_with_the_grammar_prompt(inputs):
    greedy = measured_cell(inputs.metrics["base"]["vstar"]["greedy"], "mAM")
    note = f"The base asked in the grammar instead: mAM {greedy}."
    assert section_of(inputs, "vstar").footnote == note
    assert section_of(without(inputs, "greedy", models=("base",)), "vstar").footnote == ""


def test_without_plain_answers_the_base_is_shown_in_its_own_condition(inputs):
    found = section_of(without(inputs, "plain"), "vstar")
    assert found.main.columns[0].heading == "Base (asked in the grammar)"
    greedy = inputs.metrics["base"]["vstar"]["greedy"]
    assert [cell.value for cell in found.main.columns[0].cells] == pytest.approx(
        [100 * greedy[key] for key, _, _ in registry.BENCHMARKS["vstar"].display.columns]
    )
    assert found.caption.startswith("All models are asked in the grammar. The condition 'plain' was not ")
    assert "was not fine-tuned on the grammar, so this comparison is unfair" in found.caption
    assert found.footnote == ""
    assert "not evaluated" not in section_of(inputs, "vstar").caption


def test_plain_answers_alone_still_make_a_table(inputs):
    found = section_of(without(inputs, "greedy", "sampled", "blind"), "tvgbench")
    assert found.caption.startswith("All models are asked plainly.")
    assert "The condition 'greedy' was not evaluated for GSPO." in found.caption
    assert found.main.columns[1].cells[-1] is None  # format
    assert without(inputs, "greedy", "sampled", "plain").benchmarks == []


@pytest.mark.parametrize(
    ("gain", "text", "interval", "sign"),
    [
        (Interval(0.041, 0.01, 0.07), "+4.1", "[+1.0, +7.0]", "▲"),
        (Interval(-0.041, -0.07, -0.01), "-4.1", "[-7.0, -1.0]", "▼"),
        (Interval(0.0, -0.01, 0.02), "+0.0", "[-1.0, +2.0]", ""),
        (Interval(-0.02, -0.05, 0.0), "-2.0", "[-5.0, +0.0]", ""),
        (Interval(math.inf, 0.3, math.inf), "∞", "[+30.0, ∞]", "▲"),
        (Interval(0.3, math.nan, math.nan), "+30.0", "[?, ?]", ""),
    ],
)
def test_differences_are_given_where_known(gain, text, interval, sign):
    cell = difference_cell(gain)
    assert (cell.text, cell.interval, cell.sign) == (text, interval, sign)


def test_unknown_and_infinite_numbers_are_shown_as_such():
    assert difference_cell(Interval(math.nan, math.nan, math.nan)) is None
    perfect = measured_cell({"mLGM": None, "intervals": {"mLGM": [1.5, None]}}, "mLGM")
    assert perfect == Cell(math.inf, 150.0, math.inf)
    assert (perfect.text, perfect.interval) == ("∞", "[150.0, ∞]")


def test_the_markdown_table_has_the_same_numbers(inputs):
    text = markdown(inputs)
    for benchmark in NAMES:
        found = section_of(inputs, benchmark)
        for table in (found.main, *found.further):
            for _, cells in table.rows:
                line = [f"{cell.sign} {cell}".lstrip() if cell else "-" for cell in cells]
                assert any(
                    [part.strip() for part in row.split("|")[2:-1]] == line for row in text.splitlines()
                )
        assert found.footnote in " ".join(text.split())
        assert found.caption in " ".join(text.split())
    assert text.startswith("SFT ")
    assert "Format          |                    - |" in text


def test_every_row_of_a_markdown_table_has_the_same_width(inputs):
    for block in markdown(inputs).split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1
