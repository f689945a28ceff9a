"""The report as one self-contained, deterministic HTML page without external addresses.

`html` gathers what the template shows. The parts are made elsewhere: numbers in `tables`, single questions in
`examples`, curves in `charts`, drawings on frames and text in `overlay`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from openo3.benchmarks.base import frames_of
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS
from openo3.media.frame_store import FrameStore
from openo3.report.charts import Estimate, bin_shares, histogram, interval_plot, line_chart
from openo3.report.comparison import Cell, Comparison, main_comparison, measured_cell
from openo3.report.examples import (
    CHOSEN,
    GALLERY,
    Example,
    Query,
    choose,
    example,
    query,
)
from openo3.report.headline import sentences
from openo3.report.inputs import ADDED_REWARDS, Inputs, column
from openo3.report.scaling import scalings
from openo3.report.tables import scaling_table, section

TITLE = "Grounded video reasoning"
RUNS = {"sft": "Supervised fine-tuning", "gspo": "GSPO"}
SOURCES = ("page.html.j2", "style.css", "page.js")
BLIND = "blind"


SFT_CURVES = {
    "loss": "Loss",
    "mean_token_accuracy": "Token accuracy",
    "learning_rate": "Learning rate",
    "grad_norm": "Gradient norm",
}
REWARD_CURVES = {
    "ans_acc": "Answer",
    "ans_tiou": "Answer: span overlap",
    "ans_viou": "Answer: box overlap",
    "thk_temporal_point": "Evidence: near a key time",
    "thk_temporal_segment": "Evidence: inside the span",
    "thk_spatial": "Evidence: box overlap",
    "format": "Format",
}
GSPO_CURVES = {
    "reward_std": "Reward, spread",
    "kl": "KL from SFT",
    "entropy": "Entropy",
    "clip_ratio": "Clipped sequences",
    "completion_length": "Completion length, tokens",
    "learning_rate": "Learning rate",
}
RUN_NUMBERS = {
    "steps": "Steps",
    "samples": "Records",
    "without_frames": "Records without frames, left out",
    "too_long": "Records that are too long, left out",
    "steps_left_out": "Steps left out, not finite",
    "added_rewards": "Weight of",
    "last": "",
    "reward": "Total reward",
    "groups_without_signal": "Groups with equal rewards, share",
}
NAMES = SFT_CURVES | REWARD_CURVES | ADDED_REWARDS | GSPO_CURVES | RUN_NUMBERS
"""What the page calls the numbers of a run; others keep their own names."""

Scores = Mapping[tuple[str, str], Sequence[Mapping[str, float]]]
"""Model and benchmark -> each record's scores by column, where the models are compared."""


@dataclass(frozen=True)
class Tile:
    """One headline metric: each model with its number and the difference from the model before it."""

    name: str
    meaning: str
    steps: Sequence[tuple[str, Cell | None, Cell | None]]


@dataclass(frozen=True)
class Curves:
    """A group of charts."""

    title: str
    note: str
    charts: Sequence[Markup]


def html(inputs: Inputs, frames: Mapping[str, FrameStore], examples: int, about: str = "") -> str:
    """The page with `examples` questions of each benchmark, or fewer where its `Display` says so.

    `frames` are the frame stores of the benchmarks that `with_frames` names, `about` says in a few words
    what was run.
    """
    folder = files("openo3.report")
    page, style, script = ((folder / name).read_text(encoding="utf-8") for name in SOURCES)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pairs = [(model, name) for model in CHECKPOINTS for name in inputs.benchmarks]
    scores = {
        (m, name): BENCHMARKS[name].scoring.records(inputs.results[inputs.key(m, name)]) for m, name in pairs
    }
    comparisons = [main_comparison(inputs, name) for name in inputs.benchmarks]
    environment.filters["count"] = "{:,}".format
    return environment.from_string(page).render(
        title=TITLE,
        style=Markup(style),
        script=Markup(script),
        models=CHECKPOINTS,
        about=about,
        facts=list(_facts(inputs)),
        lead=" ".join(sentences(comparisons, inputs.added_rewards)),
        tiles=[tile for found in comparisons[:1] for tile in _tiles(found)],
        sections=[section(inputs, found) for found in comparisons],
        absent=[BENCHMARKS[name].title for name in _validated(inputs) if name not in inputs.benchmarks],
        plots=[_interval_plot(inputs, found) for found in comparisons],
        scalings=[(found, scaling_table(found)) for found in scalings(inputs)],
        published=[b.display.published for b in BENCHMARKS.values() if b.display.published],
        chosen=CHOSEN,
        gallery=GALLERY,
        examples=list(_examples(inputs, frames, scores, examples)),
        queries=list(_queries(inputs, scores, examples)),
        curves=list(_curves(inputs)),
        spreads=list(_spreads(inputs, scores)),
        validation=inputs.stages["validation"],
        frames=inputs.stages["frames"],
        runs=[(title, list(_numbers(inputs.stages[name]))) for name, title in RUNS.items()],
    )


def with_frames(inputs: Inputs) -> list[str]:
    """The benchmarks whose records are shown with their frames."""
    return [name for name in inputs.benchmarks if BENCHMARKS[name].display.single == "evidence"]


def _validated(inputs: Inputs) -> list[str]:
    """The benchmarks whose annotations this run has."""
    return [name for name in BENCHMARKS if name in inputs.stages["validation"]["files"]]


def _facts(inputs: Inputs) -> Iterator[tuple[str, str]]:
    for name in inputs.benchmarks:
        answers = inputs.answers[inputs.key("base", name)]
        questions = sum(map(len, answers))
        yield BENCHMARKS[name].title, f"{len(answers):,} records, {questions:,} questions"
    for name in RUNS:
        if inputs.curves[name]:
            yield CHECKPOINTS[name], f"{int(inputs.curves[name][-1]['step']):,} steps"


def _tiles(found: Comparison) -> Iterator[Tile]:
    """The headline metrics of a benchmark."""
    titles = {key: title for key, title, _ in BENCHMARKS[found.benchmark].display.columns}
    before = {later: found.gains[later, earlier] for earlier, later in pairwise(CHECKPOINTS)}
    for key, meaning in BENCHMARKS[found.benchmark].display.headlines.items():
        steps = [(m, found.levels[m].get(key), before.get(m, {}).get(key)) for m in CHECKPOINTS]
        yield Tile(titles[key], meaning, steps)


def _interval_plot(inputs: Inputs, found: Comparison) -> Markup:
    """The models in the compared condition, and GSPO with blank frames."""
    drawn = [(CHECKPOINTS[model], model, numbers, False) for model, numbers in found.levels.items()]
    if blind := inputs.metrics["gspo"][found.benchmark].get(BLIND):
        numbers = {key: measured_cell(blind, key) for key in blind["intervals"]}
        drawn.append((f"{CHECKPOINTS['gspo']}, blind", "gspo", numbers, True))
    rows = []
    for key, title, detail in BENCHMARKS[found.benchmark].display.columns:
        estimates = [
            Estimate(name, cell.value, cell.low, cell.high, style, hollow)
            for name, style, numbers, hollow in drawn
            if (cell := numbers.get(key))
        ]
        rows.append((f"{title} {detail.partition('chain ')[2]}".strip(), estimates))
    base = f"{BENCHMARKS[found.benchmark].title}, base {found.asked['base'].label}"
    return interval_plot(f"{base}; hollow: GSPO blind" if blind else base, rows)


def _examples(
    inputs: Inputs, frames: Mapping[str, FrameStore], scores: Scores, count: int
) -> Iterator[Example]:
    """Chosen among the records that all models were asked about."""
    for name in with_frames(inputs):
        answers = [inputs.answers[inputs.key(model, name)] for model in CHECKPOINTS]
        media = [
            record["media"]
            if frames_of(record) in frames[name] and all(found[k] for found in answers)
            else None
            for k, record in enumerate(inputs.results[inputs.key("base", name)])
        ]
        for role, index in _chosen(media, scores, name, count):
            own = {model: scores[model, name][index] for model in CHECKPOINTS}
            yield example(name, inputs, frames[name], own, role, index)


def _queries(inputs: Inputs, scores: Scores, count: int) -> Iterator[tuple[str, list[Query]]]:
    """Questions about a span, with the title of their benchmark."""
    for name in inputs.benchmarks:
        if BENCHMARKS[name].display.single != "span":
            continue
        media = [record["media"] for record in inputs.results[inputs.key("base", name)]]
        main, _ = BENCHMARKS[name].display.main
        queries = [
            query(name, inputs, {model: scores[model, name][index][main] for model in CHECKPOINTS}, index)
            for _, index in _chosen(media, scores, name, count)
        ]
        yield BENCHMARKS[name].title, queries


def _chosen(media: Sequence[str | None], scores: Scores, name: str, count: int) -> list[tuple[str, int]]:
    benchmark = BENCHMARKS[name]
    overall = {
        model: [benchmark.scoring.overall(score) for score in scores[model, name]] for model in CHECKPOINTS
    }
    most = benchmark.display.max_examples
    return choose(overall, media, count if most is None else min(count, most))


def _curves(inputs: Inputs) -> Iterator[Curves]:
    """Everything that was logged; a curve that was never logged (KL without a reference, say) is left out."""
    sft, gspo = inputs.curves["sft"], inputs.curves["gspo"]
    yield Curves("Supervised fine-tuning", _unchanged(inputs, "sft"), _charts(sft, SFT_CURVES, "sft"))
    total = _charts(gspo, {"reward": "Total reward"}, "gspo")
    added = {name: ADDED_REWARDS.get(name, name) for name in inputs.added_rewards}
    names = {f"rewards/{name}": title for name, title in (REWARD_CURVES | added).items()}
    unearned = [name for name in names if (values := column(gspo, name)[1]) and not any(values)]
    earned = {name: title for name, title in names.items() if name not in unearned}
    parts = _charts(gspo, earned, "gspo", (0.0, 1.0))
    note = "The total and its parts, the parts on one scale, each averaged over the samples it applies to."
    if unearned:
        note += (
            f" No rollout earned these, so they have no chart: {'; '.join(map(names.__getitem__, unearned))}."
        )
    note = _unchanged(inputs, "gspo") or note
    yield Curves("GSPO: rewards", note, [*total, *parts])
    yield Curves("GSPO: optimisation", "", _charts(gspo, GSPO_CURVES, "gspo"))


def _unchanged(inputs: Inputs, stage: str) -> str:
    none = inputs.stages[stage].get("steps") == 0
    return "There were no records for this stage, so it did not change the model." if none else ""


def _charts(
    rows: Sequence[Mapping[str, str]],
    names: Mapping[str, str],
    style: str,
    y_range: tuple[float, float] | None = None,
) -> list[Markup]:
    found = [(title, *column(rows, name)) for name, title in names.items()]
    return [line_chart(title, steps, values, style, y_range) for title, steps, values in found if values]


def _spreads(inputs: Inputs, scores: Scores) -> Iterator[tuple[str, list[Markup]]]:
    for name in inputs.benchmarks:
        for key, title in BENCHMARKS[name].display.spreads.items():
            values = {model: [score[key] for score in scores[model, name]] for model in CHECKPOINTS}
            peak = 1.05 * max(max(bin_shares(found)) for found in values.values())
            yield title, [histogram(CHECKPOINTS[m], found, m, peak) for m, found in values.items()]


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The numbers of a metrics file under the names of the page."""
    for key, value in metrics.items():
        name = key.removeprefix("rewards/")
        title = f"{prefix} {NAMES.get(name, name)}".strip()
        if isinstance(value, Mapping):
            yield from _numbers(value, title)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield title, f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
