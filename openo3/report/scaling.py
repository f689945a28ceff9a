"""Test-time scaling: one sampled answer, the greedy one and the two votes over the same records.

What is said is composed from the numbers; nothing is claimed that no interval bears out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from markupsafe import Markup

from openo3.benchmarks.ballots import NO_EVIDENCE, confidences, correct, singles, votable
from openo3.benchmarks.base import Metric
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS
from openo3.core import selective
from openo3.core.metrics import bootstrap, paired_difference
from openo3.core.voting import weight
from openo3.report.charts import CoverageCurve, coverage_chart
from openo3.report.comparison import Cell, difference_cell, measured_cell
from openo3.report.inputs import Inputs

VOTES = {"voted": "Voted", "confident": "Confident"}
"""The conditions that join samples, with their names; the second weights them."""
ALIKE = 0.9
"""If so large a share of the answers has the same weight, weights hardly tell them apart."""


@dataclass(frozen=True)
class Scaling:
    """What `n` samples of a model bring on a benchmark.

    `columns` are the ways to answer, by name, with a cell for each of the `metrics`; `sentences` say what is
    found, and the chart shows accuracy by coverage. `records` were asked about.
    """

    title: str
    model: str
    n: int
    records: int
    metrics: tuple[Metric, ...]
    columns: Mapping[str, tuple[Cell | None, ...]]
    sentences: tuple[str, ...]
    chart: Markup


def scalings(inputs: Inputs) -> Iterator[Scaling]:
    """One for each benchmark and model whose samples were joined."""
    for benchmark in inputs.benchmarks:
        for model in CHECKPOINTS:
            votes = [name for name in VOTES if (model, benchmark, name) in inputs.results]
            if votes:
                yield _scaling(inputs, model, benchmark, votes)


def _scaling(inputs: Inputs, model: str, benchmark: str, votes: list[str]) -> Scaling:
    about, blocks = BENCHMARKS[benchmark], inputs.metrics[model][benchmark]
    metric = votable(about).metric
    results = {name: inputs.results[model, benchmark, name] for name in votes}
    right = {name: correct(about, own) for name, own in results.items()}
    right["single"] = singles(results[votes[0]])
    records, videos = len(right["single"]), about.scoring.videos(results[votes[0]])
    levels = {"single": measured_cell(blocks[votes[0]], "single")}
    if greedy := inputs.results.get((model, benchmark, "greedy")):
        right["greedy"] = correct(about, greedy[:records])
        [found] = bootstrap(right["greedy"], videos=videos)
        levels["greedy"] = Cell(100 * found.value, 100 * found.low, 100 * found.high)
    levels |= {name: measured_cell(blocks[name], metric) for name in votes}
    asked = chain.from_iterable(record.values() for record in inputs.answers[model, benchmark, votes[0]])
    n = max((len(line["samples"]) for line in asked), default=0)
    names = {"single": "One sample", "greedy": "Greedy"} | {v: f"{VOTES[v]}@{n}" for v in votes}
    gains = {
        (name, than): difference_cell(paired_difference(right[name], right[than], videos=videos)[0])
        for name in votes
        for than in ("single", "greedy", "voted")
        if than in right and than != name
    }
    name = about.display.axes[metric]
    lines = [(metric, name, "accuracy")]
    others = dict.fromkeys(than for _, than in gains)
    lines += [(than, f"Over {names[than].lower()}", "") for than in others]
    lines += [("area", "Area", "selective accuracy")]
    columns = {}
    for way, level in levels.items():
        cells: dict[str, Cell | None] = {metric: level}
        cells |= {than: gain for (own, than), gain in gains.items() if own == way}
        if way in votes:
            cells["area"] = measured_cell(blocks[way], "area")
        columns[names[way]] = tuple(cells.get(key) for key, _, _ in lines)
    curves = [
        CoverageCurve(names[way], way, selective.curve(confidences(own), right[way]))
        for way, own in results.items()
    ]
    title = f"{about.title}, {CHECKPOINTS[model]}"
    return Scaling(
        title=title,
        model=model,
        n=n,
        records=records,
        metrics=tuple(lines),
        columns=columns,
        sentences=tuple(_sentences(name, n, gains, right, results, blocks, videos)),
        chart=coverage_chart("Accuracy by coverage", curves),
    )


def _sentences(
    name: str,
    n: int,
    gains: Mapping[tuple[str, str], Cell | None],
    right: Mapping[str, list[float]],
    results: Mapping[str, Any],
    blocks: Mapping[str, Any],
    videos: Sequence[Hashable],
) -> Iterator[str]:
    subjects = {"voted": f"The majority of {n} samples", "confident": "Weighting samples by their evidence"}
    others = {"single": "one sample", "greedy": "greedy decoding", "voted": "the majority"}
    for way in results:
        said = [(gain, others[than]) for (own, than), gain in gains.items() if own == way and gain]
        if way == "confident" and "voted" in results:
            said = said[-1:]  # against one sample and greedy decoding, see the table
        yield f"{subjects[way]} {_effects(name, said)}."
    if "confident" in results:
        yield from _ratings(blocks["confident"]["ratings"])
    for way, own in results.items():
        gain = difference_cell(
            selective.area_difference((confidences(own), right[way]), ([0.0] * len(own), right[way]), videos)
        )
        if gain:
            tells = {"up": "tells right from wrong answers", "down": "misleads"}
            verdict = tells.get(gain.mark, "does not significantly tell right from wrong answers")
            ways = f"{VOTES[way].lower()}@{n}"
            yield f"The confidence of {ways} {verdict}: {gain} in area over one that says nothing."
    yield _cost(blocks[[*results][-1]]["cost"])


def _effects(name: str, gains: Sequence[tuple[Cell, str]]) -> str:
    """Gains over something, those of the same direction together."""
    verbs = {
        "up": f"raises {name} over",
        "down": f"lowers {name} against",
        "": f"does not significantly differ in {name} from",
    }
    said = []
    for mark, verb in verbs.items():
        if same := [f"{than} ({gain})" for gain, than in gains if gain.mark == mark]:
            said.append(f"{verb} {' and '.join(same)}")
    return ", and ".join(said)


def _ratings(found: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    shares = {name: numbers["share"] or 0.0 for name, numbers in found.items()}
    if not any(shares.values()):
        yield "No evidence was rated: all samples of each record agree."
        return
    listed = "; ".join(_rating(name, numbers) for name, numbers in found.items() if name != NO_EVIDENCE)
    yield f"Where samples disagree, the model rates the relevance of their evidence: {listed}."
    if shares[NO_EVIDENCE]:
        yield f"Another {100 * shares[NO_EVIDENCE]:.0f} % cite nothing usable."
    by_weight: dict[float, float] = {}
    for name, share in shares.items():
        own = weight(None if name == NO_EVIDENCE else int(name))
        by_weight[own] = by_weight.get(own, 0.0) + share
    if max(by_weight.values()) >= ALIKE:
        yield "Nearly all of these samples have the same weight, so the vote is little more than a majority."


def _rating(name: str, numbers: Mapping[str, float | None]) -> str:
    share, right = numbers["share"] or 0.0, numbers["right"]
    said = f"{name} for {100 * share:.0f} %"
    return said if right is None else f"{said}, of which {100 * right:.0f} % are right"


def _cost(cost: Mapping[str, float]) -> str:
    said = (
        f"A record costs {cost['completions']:.3g} completions of {cost['tokens_written']:,.0f} tokens in all"
    )
    if "crops" not in cost:
        return f"{said}."
    shown = f"{cost['crops']:.2g} crops in prompts of {cost['crop_tokens']:,.0f} tokens"
    return f"{said}, and to weight them {shown}."
