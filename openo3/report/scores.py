"""Scores of single records, for the spread, the choice of examples and paired differences between models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openo3.benchmarks import tvgbench, vstar_scores
from openo3.benchmarks.judges import RougeJudge
from openo3.core.metrics import SPAN_THRESHOLDS, Interval, Statistic, paired_difference

Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Scoring:
    """How a benchmark scores records: `columns` per record, and `metrics` made of their means by `statistic`.

    `overall` is a record's one number in 0-1, by which records are compared; `group` names the group that a
    record also counts in.
    """

    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: Callable[[Results], list[list[float]]]
    overall: Callable[[Mapping[str, float]], float]
    statistic: Statistic = lambda means: means
    group: Callable[[Mapping[str, Any]], str] | None = None

    def records(self, results: Results) -> list[dict[str, float]]:
        """Each record's scores by column, in the order of the records."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows(results)]

    def difference(self, a: Results, b: Results) -> dict[str, Interval]:
        """How much better `a` is than `b` on the same records, by metric, with the 95 % interval.

        `format` and, as `METRIC/GROUP`, the groups' metrics are among them where the records have them.
        """
        found = self._difference(a, b)
        if all("format" in record for record in (*a, *b)):
            pair = ([record["format"] for record in results] for results in (a, b))
            [found["format"]] = paired_difference(*pair)
        if self.group:
            for group in sorted(set(map(self.group, a))):
                own = ([record for record in results if self.group(record) == group] for results in (a, b))
                found |= {f"{name}/{group}": gain for name, gain in self._difference(*own).items()}
        return found

    def _difference(self, a: Results, b: Results) -> dict[str, Interval]:
        found = paired_difference(self.rows(a), self.rows(b), self.statistic)
        return dict(zip(self.metrics, found, strict=True))


def _vstar(results: Results) -> list[list[float]]:
    # `evaluate` left the judge's ratings in the results; nothing is left for this judge to rate
    return [record.columns for record in vstar_scores.scored_records(results, RougeJudge())]


def _tvgbench(results: Results) -> list[list[float]]:
    tious = tvgbench.tious(results)
    return [[tiou, *(float(tiou >= least) for least in SPAN_THRESHOLDS)] for tiou in tious]


def _choices(results: Results) -> list[list[float]]:
    return [[record["correct"]] for record in results]


CHOICES = Scoring(
    columns=("acc",),
    metrics=("acc",),
    rows=_choices,
    overall=lambda score: score["acc"],
    group=lambda record: record["group"],
)

SCORINGS = {
    "vstar": Scoring(
        columns=vstar_scores.COLUMNS,
        metrics=vstar_scores.METRICS,
        rows=_vstar,
        overall=lambda score: (score["acc"] + score["tIoU_1"] + score["vIoU_1"]) / 3,
        statistic=vstar_scores.summary,
    ),
    "tvgbench": Scoring(
        columns=("m_tIoU", *(f"R1@{least}" for least in SPAN_THRESHOLDS)),
        metrics=("m_tIoU", *(f"R1@{least}" for least in SPAN_THRESHOLDS)),
        rows=_tvgbench,
        overall=lambda score: score["m_tIoU"],
    ),
    "videomme": CHOICES,
    "worldsense": CHOICES,
    "videommmu": CHOICES,
}
