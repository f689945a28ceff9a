"""The ablation as tables: base, SFT and GSPO under each decoding, with 95 % intervals; also in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from openo3.metrics import Interval
from openo3.report.inputs import BENCHMARKS, DECODINGS, MODELS, Inputs
from openo3.report.scores import SCORINGS

Metric = tuple[str, str, str]
"""Key in the metrics file, heading, second line of the heading."""


def _choices(*groups: str) -> tuple[Metric, ...]:
    of_groups = ((f"acc/{group}", group.capitalize(), "accuracy") for group in groups)
    return (("acc", "All", "accuracy"), *of_groups, ("format", "Format", "well formed"))


COLUMNS: dict[str, tuple[Metric, ...]] = {
    "vstar": (
        ("acc", "What", "accuracy"),
        ("tIoU_1", "When", "tIoU, chain 1"),
        ("vIoU_1", "Where", "vIoU, chain 1"),
        ("tIoU_2", "When", "tIoU, chain 2"),
        ("vIoU_2", "Where", "vIoU, chain 2"),
        ("mAM", "mAM", "mean of all"),
        ("mLGM", "mLGM", "log mean"),
        ("format", "Format", "well formed"),
    ),
    "tvgbench": (
        ("m_tIoU", "When", "mean tIoU"),
        ("R1@0.3", "R1@0.3", "tIoU ≥ 0.3"),
        ("R1@0.5", "R1@0.5", "tIoU ≥ 0.5"),
        ("R1@0.7", "R1@0.7", "tIoU ≥ 0.7"),
        ("format", "Format", "well formed"),
    ),
    "videomme": _choices("short", "medium", "long"),
    "worldsense": _choices("Recognition", "Understanding", "Reasoning"),
    "videommmu": _choices("Perception", "Comprehension", "Adaptation"),
}

PUBLISHED = (
    ("Qwen2.5-VL-7B, the base", 19.3, 22.4),
    ("Open-o3 Video on Qwen2.5-VL-7B", 33.7, 46.6),
    ("Open-o3 Video on Qwen3-VL-8B", 35.5, 49.0),
)
"""mAM and mLGM on the real V-STaR as published: arXiv 2510.20579, the last row in its authors' release."""


@dataclass(frozen=True)
class Cell:
    """A number in percent with the ends of its interval; mLGM of a perfect score is infinite.

    `mark` is `best` for the best of its decoding; of a difference `up` or `down`, if its interval excludes 0.
    """

    value: float
    low: float
    high: float
    mark: str = ""
    signed: bool = False

    @property
    def text(self) -> str:
        return self._written(self.value)

    @property
    def interval(self) -> str:
        return f"[{self._written(self.low)}, {self._written(self.high)}]"

    def _written(self, value: float) -> str:
        if math.isfinite(value):
            return f"{value:+.1f}" if self.signed else f"{value:.1f}"
        return "?" if math.isnan(value) else "∞" if value > 0 else "-∞"


@dataclass(frozen=True)
class Row:
    """One line of a table; a cell is None where the metric was not measured. `style` are its CSS classes."""

    name: str
    style: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    title: str
    n: int
    columns: tuple[Metric, ...]
    groups: tuple[tuple[str, list[Row]], ...]


def ablation(inputs: Inputs, benchmark: str) -> Table:
    """The models under each decoding and, where frames were seen, the paired differences between them."""
    columns = COLUMNS[benchmark]
    groups = []
    for decoding, title in DECODINGS.items():
        found = {m: inputs.metrics[m][benchmark].get(decoding) for m in MODELS}
        measured = {model: metrics for model, metrics in found.items() if metrics}
        if measured:
            rows = _model_rows(measured, decoding, columns)
            rows += _difference_rows(inputs, benchmark, decoding, columns) if decoding != "blind" else []
            groups.append((title, rows))
    n = inputs.metrics["base"][benchmark]["greedy"]["n"]
    return Table(BENCHMARKS[benchmark], n, columns, tuple(groups))


def _model_rows(
    measured: Mapping[str, Mapping[str, Any]], decoding: str, columns: Sequence[Metric]
) -> list[Row]:
    lines = [[measured_cell(metrics, key) for key, _, _ in columns] for metrics in measured.values()]
    marked = zip(*map(_with_best, zip(*lines, strict=True)), strict=True) if decoding != "blind" else lines
    return [
        Row(MODELS[m], f"{m} {decoding}", tuple(cells)) for m, cells in zip(measured, marked, strict=True)
    ]


def _difference_rows(inputs: Inputs, benchmark: str, decoding: str, columns: Sequence[Metric]) -> list[Row]:
    """What each training stage added, over the same records: SFT against base, GSPO against SFT."""
    rows = []
    for before, after in pairwise(MODELS):
        pair = [inputs.results.get((model, benchmark, decoding)) for model in (after, before)]
        if all(pair):
            gains = SCORINGS[benchmark].difference(*pair)
            cells = tuple(difference_cell(gains.get(key)) for key, _, _ in columns)
            rows.append(Row(f"{MODELS[after]} vs {MODELS[before]}", "difference", cells))
    return rows


def markdown(inputs: Inputs) -> str:
    """The ablation of every benchmark as Markdown tables, a metric per line, narrow enough for a terminal."""
    return "\n".join(line for name in inputs.benchmarks for line in _markdown(ablation(inputs, name))) + "\n"


def _markdown(table: Table) -> Iterator[str]:
    yield f"## {table.title}: {table.n} held-out records, percent with 95 % intervals"
    for title, rows in table.groups:
        rows = [row for row in rows if row.name != "SFT vs Base"]
        lines = [[title.split()[0].rstrip(":"), *(row.name for row in rows)]]
        for k, column in enumerate(table.columns):
            lines.append([_heading(column), *(_markdown_cell(row.cells[k]) for row in rows)])
        widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
        lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
        yield ""
        for first, *rest in lines:
            padded = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
            yield "| " + " | ".join([first.ljust(widths[0]), *padded]) + " |"
    yield ""


def _heading(column: Metric) -> str:
    _, name, detail = column
    chain = detail.partition(", ")[2]
    return f"{name} ({chain})" if chain else name


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return f"{f'**{cell.text}**' if cell.mark == 'best' else cell.text} {cell.interval}"


def measured_cell(metrics: Mapping[str, Any], key: str) -> Cell | None:
    """A metric of one decoding's block of `metrics/evaluate/<model>.json`; None if it is not there.

    What is null there was infinite: JSON cannot say so.
    """
    if key not in metrics:
        return None
    numbers = (metrics[key], *metrics["intervals"][key])
    return Cell(*(math.inf if number is None else 100 * number for number in numbers))


def difference_cell(gain: Interval | None) -> Cell | None:
    """A paired difference; None also where it is that of two infinite numbers."""
    if gain is None or math.isnan(gain.value):
        return None
    mark = "up" if gain.low > 0 else "down" if gain.high < 0 else ""
    return Cell(100 * gain.value, 100 * gain.low, 100 * gain.high, mark, signed=True)


def _with_best(column: Sequence[Cell | None]) -> list[Cell | None]:
    """The same cells, the greatest marked as best unless they are all equal."""
    values = {cell.value for cell in column if cell}
    best = max(values) if len(values) > 1 else None
    return [cell and replace(cell, mark="best" if cell.value == best else "") for cell in column]
