"""Base, SFT and GSPO on one benchmark: what each scores, and how they differ over the same records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openo3.benchmarks.conditions import CONDITIONS, Condition
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS
from openo3.core.metrics import Interval
from openo3.report.inputs import Inputs

Pair = tuple[str, str]
"""Two models, the later one first."""

PAIRS: tuple[Pair, ...] = (("sft", "base"), ("gspo", "base"), ("gspo", "sft"))


@dataclass(frozen=True)
class Cell:
    """A number in percent with the ends of its interval; mLGM of a perfect score is infinite.

    `mark` of a difference is `up` or `down` if its interval excludes 0.
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

    @property
    def sign(self) -> str:
        """The mark as a character, for readers who do not see its colour."""
        return {"up": "▲", "down": "▼"}.get(self.mark, "")

    def __str__(self) -> str:
        return f"{self.text} {self.interval}"

    def _written(self, value: float) -> str:
        if math.isfinite(value):
            return f"{value:+.1f}" if self.signed else f"{value:.1f}"
        return "?" if math.isnan(value) else "∞" if value > 0 else "-∞"


@dataclass(frozen=True)
class Comparison:
    """`asked[model]` is how a model was asked, `levels[model]` its numbers by metric, `gains[later, earlier]`
    the differences by metric. `n` records were asked about. What was not measured, or says nothing, is left
    out.
    """

    benchmark: str
    n: int
    asked: Mapping[str, Condition]
    levels: Mapping[str, Mapping[str, Cell]]
    gains: Mapping[Pair, Mapping[str, Cell]]


def main_comparison(inputs: Inputs, benchmark: str) -> Comparison:
    """Each model asked as it is meant to be: the base plainly, SFT and GSPO in the grammar."""
    asked = {model: inputs.asked(model, benchmark) for model in CHECKPOINTS}
    return _comparison(inputs, benchmark, asked, PAIRS)


def further_comparisons(inputs: Inputs, benchmark: str) -> Iterator[Comparison]:
    """All models asked in the same way, for each of the other ways in which SFT and GSPO were asked.

    The base's answers in the grammar are compared with nothing, and no blind model's are. Votes are left to
    `openo3.report.scaling`.
    """
    main = {inputs.asked(model, benchmark).name for model in ("sft", "gspo")}
    for name, condition in CONDITIONS.items():
        asked = {model: condition for model in CHECKPOINTS if (model, benchmark, name) in inputs.results}
        if name in main or condition.vote or not {"sft", "gspo"} <= asked.keys():
            continue
        pairs = PAIRS if condition.bare else () if condition.blank else PAIRS[2:]
        yield _comparison(inputs, benchmark, asked, pairs)


def _comparison(
    inputs: Inputs, benchmark: str, asked: Mapping[str, Condition], pairs: Sequence[Pair]
) -> Comparison:
    found = {model: inputs.metrics[model][benchmark][asked[model].name] for model in asked}
    return Comparison(
        benchmark=benchmark,
        n=next(iter(found.values()))["n"],
        asked=asked,
        levels={model: _levels(found[model], condition) for model, condition in asked.items()},
        gains={pair: _gains(inputs, benchmark, asked, pair) for pair in pairs if set(pair) <= asked.keys()},
    )


def _levels(metrics: Mapping[str, Any], condition: Condition) -> dict[str, Cell]:
    return {
        name: measured_cell(metrics, name)
        for name in metrics["intervals"]
        if not (condition.bare and name == "format")
    }


def _gains(inputs: Inputs, benchmark: str, asked: Mapping[str, Condition], pair: Pair) -> dict[str, Cell]:
    results = (inputs.results[model, benchmark, asked[model].name] for model in pair)
    bare = any(asked[model].bare for model in pair)
    scoring = BENCHMARKS[benchmark].scoring
    cells = {name: difference_cell(gain) for name, gain in scoring.difference(*results).items()}
    return {name: cell for name, cell in cells.items() if cell and not (bare and name == "format")}


def measured_cell(metrics: Mapping[str, Any], name: str) -> Cell:
    """A metric of one condition's block of `metrics/evaluate/<model>.json`.

    What is null there was infinite: JSON cannot say so.
    """
    numbers = (metrics[name], *metrics["intervals"][name])
    value, low, high = (math.inf if number is None else 100 * number for number in numbers)
    return Cell(value, low, high)


def difference_cell(gain: Interval) -> Cell | None:
    """A paired difference; None where it is that of two infinite numbers."""
    if math.isnan(gain.value):
        return None
    mark = "up" if gain.low > 0 else "down" if gain.high < 0 else ""
    return Cell(100 * gain.value, 100 * gain.low, 100 * gain.high, mark, signed=True)
