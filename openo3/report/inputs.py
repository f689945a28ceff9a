"""The inputs of the report: the artifacts of earlier stages, each read once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openo3.benchmarks.conditions import CONDITIONS, Condition
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS, TRAINING
from openo3.files.artifacts import read_csv, read_json, read_jsonl

MEANT = {"base": "plain", "sft": "greedy", "gspo": "greedy"}
"""The condition that each checkpoint is meant to be asked in: its users ask the base plainly."""
INSTEAD = ("plain", "greedy", "sampled")
"""Replacements of a condition that was not evaluated; the first evaluated one is used."""
STAGES = ("validation", "frames", *TRAINING)

ADDED_REWARDS = {"ans_where": "Answer: boxes at seconds", "thk_objects": "Evidence: the right objects"}
"""What the report calls the rewards that are not the paper's."""

Answers = Mapping[str, Mapping[str, Any]]
"""Prediction lines of one record by question (`what`, `when`, `where`, …)."""
Key = tuple[str, str, str]
"""Model, benchmark, name of the condition."""


@dataclass(frozen=True)
class Inputs:
    """All inputs of the report.

    `metrics[model][benchmark][condition]` are the numbers of `metrics/evaluate/<model>.json`; `stages[name]`
    those of `metrics/<name>.json`; `curves[name]` the rows of `plots/<name>.csv`;
    `results[model, benchmark, condition]` the benchmark's records with the model's answers filled in, the
    same records in the same order for all; `answers[…]` the prediction lines behind them, one mapping per
    record.
    """

    metrics: Mapping[str, Mapping[str, Any]]
    stages: Mapping[str, Mapping[str, Any]]
    curves: Mapping[str, Sequence[Mapping[str, str]]]
    results: Mapping[Key, Sequence[Mapping[str, Any]]]
    answers: Mapping[Key, Sequence[Answers]]

    @classmethod
    def read(cls, root: Path) -> Inputs:
        """Read everything below the repository's root; benchmarks that were not evaluated are left out.

        Raises `FileNotFoundError` where another artifact is missing: the stage depends on all of them.
        """
        metrics = {model: read_json(root / f"metrics/evaluate/{model}.json") for model in CHECKPOINTS}
        names = [name for name in BENCHMARKS if all(metrics[model].get(name) for model in CHECKPOINTS)]
        results, answers = {}, {}
        for model in CHECKPOINTS:
            for name in names:
                for condition in metrics[model][name]:
                    path = root / f"data/predictions/{model}/{name}/{condition}"
                    results[model, name, condition] = read_json(path.with_suffix(".results.json"))
                    count = len(results[model, name, condition])
                    answers[model, name, condition] = _by_record(path.with_suffix(".jsonl"), count)
        return cls(
            metrics=metrics,
            stages={name: read_json(root / f"metrics/{name}.json") for name in STAGES},
            curves={name: read_csv(root / f"plots/{name}.csv") for name in TRAINING},
            results=results,
            answers=answers,
        )

    @property
    def benchmarks(self) -> list[str]:
        """The benchmarks that all three models were evaluated on, in the order of `BENCHMARKS`."""
        return [name for name in BENCHMARKS if all(self._found(model, name) for model in CHECKPOINTS)]

    @property
    def added_rewards(self) -> Mapping[str, float]:
        """The rewards of GSPO that are not the paper's, with their weights."""
        return self.stages["gspo"].get("added_rewards", {})

    def asked(self, model: str, benchmark: str) -> Condition:
        """How the model is asked where the models are compared: as `MEANT`, else what there is `INSTEAD`."""
        return CONDITIONS[self._found(model, benchmark)[0]]

    def key(self, model: str, benchmark: str) -> Key:
        """Where `results` and `answers` have what the models are compared by."""
        return model, benchmark, self.asked(model, benchmark).name

    def _found(self, model: str, benchmark: str) -> list[str]:
        order = dict.fromkeys((MEANT[model], *INSTEAD))
        return [name for name in order if (model, benchmark, name) in self.results]


def _by_record(path: Path, count: int) -> Sequence[Answers]:
    """`count` mappings; a record that was not asked, its media lacking frames say, has an empty one."""
    answers: list[dict[str, Any]] = [{} for _ in range(count)]
    for line in read_jsonl(path):
        answers[line["record"]][line["question"]] = line
    return answers


def column(rows: Sequence[Mapping[str, str]], name: str) -> tuple[list[float], list[float]]:
    """The steps and values of one column of a plot's CSV, without the rows where it is empty or not finite.

    >>> column([{"step": "1", "kl": ""}, {"step": "2", "kl": "0.5"}], "kl")
    ([2.0], [0.5])
    """
    filled = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
    filled = [(step, value) for step, value in filled if math.isfinite(value)]
    return [step for step, _ in filled], [value for _, value in filled]
