"""The results as tables: base, SFT, GSPO and their paired differences, with 95 % intervals; also in Markdown.

The main table asks each model as it is meant to be asked, the base plainly. Others ask all models alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from openo3.benchmarks.base import Metric
from openo3.benchmarks.conditions import CONDITIONS, Condition
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS
from openo3.report.comparison import (
    Cell,
    Comparison,
    further_comparisons,
    main_comparison,
    measured_cell,
)
from openo3.report.headline import sentences
from openo3.report.inputs import MEANT, Inputs
from openo3.report.scaling import Scaling, scalings

MINUS = "\N{MINUS SIGN}"
MARKS = (
    "Percent with 95 % intervals. Differences are paired over the same records; "
    "▲ and ▼ mark those whose interval excludes zero."
)
WIDTH = 110
"""Of the paragraphs in Markdown."""


@dataclass(frozen=True)
class Column:
    """A model, or the difference between two; `style` are its CSS classes."""

    heading: str
    style: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """A metric per line; a cell is None where the metric was not measured or says nothing."""

    title: str
    metrics: tuple[Metric, ...]
    columns: tuple[Column, ...]

    @property
    def rows(self) -> Iterator[tuple[Metric, tuple[Cell | None, ...]]]:
        """Each metric with its cells."""
        return zip(self.metrics, zip(*(column.cells for column in self.columns), strict=True), strict=True)


@dataclass(frozen=True)
class Section:
    """A benchmark's tables: the main one with a caption and a footnote, which may be empty; others."""

    title: str
    n: int
    caption: str
    main: Table
    footnote: str
    further: tuple[Table, ...]


def section(inputs: Inputs, comparison: Comparison) -> Section:
    """The tables of a benchmark, given its main comparison."""
    name, asked = comparison.benchmark, comparison.asked
    names = {**CHECKPOINTS, "base": f"{CHECKPOINTS['base']} ({asked['base'].label})"}
    return Section(
        title=BENCHMARKS[name].title,
        n=comparison.n,
        caption=f"{_asked(asked)} {MARKS}",
        main=_table(comparison, "", BENCHMARKS[name].display.columns, names),
        footnote=_footnote(inputs, comparison),
        further=tuple(_further(found) for found in further_comparisons(inputs, name)),
    )


def _table(
    comparison: Comparison, title: str, metrics: tuple[Metric, ...], names: Mapping[str, str]
) -> Table:
    levels = [
        Column(names[model], model, _cells(numbers, metrics)) for model, numbers in comparison.levels.items()
    ]
    gains = [
        Column(f"{CHECKPOINTS[later]} {MINUS} {CHECKPOINTS[earlier]}", "difference", _cells(numbers, metrics))
        for (later, earlier), numbers in comparison.gains.items()
    ]
    return Table(title, metrics, (*levels, *gains))


def _cells(numbers: Mapping[str, Cell], metrics: Sequence[Metric]) -> tuple[Cell | None, ...]:
    return tuple(numbers.get(name) for name, _, _ in metrics)


def _further(comparison: Comparison) -> Table:
    """All models asked in one way, which the title says; without the metrics that say nothing then."""
    label = comparison.asked["sft"].label
    columns = BENCHMARKS[comparison.benchmark].display.columns
    metrics = tuple(m for m in columns if m[0] in comparison.levels["sft"])
    return _table(comparison, f"All {label}", metrics, CHECKPOINTS)


def _asked(asked: Mapping[str, Condition]) -> str:
    """How the models of the main table were asked, and which of them not as they should have been."""
    missing = [model for model in CHECKPOINTS if asked[model].name != MEANT[model]]
    if len(set(asked.values())) == 1:
        said = [f"All models are {asked['base'].label}."]
    elif missing:
        said = [f"{CHECKPOINTS[model]} is {condition.label}." for model, condition in asked.items()]
    else:
        said = [
            f"The base is {asked['base'].label}, as its own users would ask it. "
            f"SFT and GSPO are {asked['sft'].label}, as they were trained."
        ]
    said += [
        f"The condition '{MEANT[model]}' was not evaluated for {CHECKPOINTS[model]}." for model in missing
    ]
    if "base" in missing:
        said.append("The base was not fine-tuned on the grammar, so this comparison is unfair to it.")
    return " ".join(said)


def _footnote(inputs: Inputs, comparison: Comparison) -> str:
    """The base as SFT and GSPO are asked, if the main table asks it otherwise."""
    in_grammar = CONDITIONS[MEANT["sft"]]
    metrics = inputs.metrics["base"][comparison.benchmark].get(in_grammar.name)
    if not metrics or comparison.asked["base"] == in_grammar:
        return ""
    metric, name = BENCHMARKS[comparison.benchmark].display.main
    return f"The base {in_grammar.label} instead: {name} {measured_cell(metrics, metric)}."


def scaling_table(found: Scaling) -> Table:
    """One sample, greedy decoding and the votes side by side."""
    columns = [Column(name, found.model, cells) for name, cells in found.columns.items()]
    return Table(
        f"{found.records} held-out records. One sample: the mean over the {found.n} samples of the votes. "
        f"Area: accuracy averaged over all coverages, if only the most confident answers are kept. {MARKS}",
        found.metrics,
        tuple(columns),
    )


def markdown(inputs: Inputs) -> str:
    """The headline, then the tables of every benchmark, a metric per line."""
    comparisons = [main_comparison(inputs, name) for name in inputs.benchmarks]
    parts = [_filled(" ".join(sentences(comparisons, inputs.added_rewards)))] if comparisons else []
    parts += [part for found in comparisons for part in _markdown(section(inputs, found))]
    parts += [part for found in scalings(inputs) for part in _scaling(found)]
    return "\n\n".join(parts) + "\n"


def _markdown(found: Section) -> Iterator[str]:
    yield f"## {found.title}: {found.n} held-out records"
    yield _filled(found.caption)
    yield _markdown_table(found.main)
    if found.footnote:
        yield _filled(found.footnote)
    for table in found.further:
        yield f"### {found.title}: {table.title[0].lower()}{table.title[1:]}"
        yield _markdown_table(table)


def _scaling(found: Scaling) -> Iterator[str]:
    table = scaling_table(found)
    yield f"## Test-time scaling: {found.title}"
    yield _filled(table.title)
    yield _markdown_table(table)
    yield _filled(" ".join(found.sentences))


def _markdown_table(table: Table) -> str:
    lines = [["", *(column.heading for column in table.columns)]]
    lines += [[_name(metric), *map(_markdown_cell, cells)] for metric, cells in table.rows]
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    padded = ([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])] for first, *rest in lines)
    return "\n".join(f"| {' | '.join(texts)} |" for texts in padded)


def _name(metric: Metric) -> str:
    _, name, detail = metric
    chain = detail.partition(", ")[2]
    return f"{name} ({chain})" if chain else name


def _markdown_cell(cell: Cell | None) -> str:
    return f"{cell.sign} {cell}".lstrip() if cell else "-"


def _filled(text: str) -> str:
    return fill(text, WIDTH, break_on_hyphens=False)
