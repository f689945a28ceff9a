"""Summarise the result in a few sentences. Every claim is supported by an interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS
from openo3.report.comparison import Cell, Comparison, Pair
from openo3.report.inputs import ADDED_REWARDS


def sentences(comparisons: Sequence[Comparison], added_rewards: Mapping[str, float]) -> list[str]:
    """What each stage did to the main metric of the first benchmark, which axes of any benchmark fell, and
    which rewards were added to the published ones (`{name: weight}`)."""
    if not comparisons:
        return []
    return [_sft(comparisons[0]), _gspo(comparisons[0]), *_falls(comparisons), *_added(added_rewards)]


def _sft(found: Comparison) -> str:
    gain, name, numbers = _change(found, ("sft", "base"))
    asked = found.asked["base"]
    base = f"the base {asked.label}" + ("" if asked.bare else ", for which it was not fine-tuned")
    records = f"on the same {found.n:,} held-out {BENCHMARKS[found.benchmark].title} records"
    match gain.mark:
        case "up":
            return f"SFT raises {name} {numbers} over {base}, {records}."
        case "down":
            return f"SFT lowers {name} {numbers} against {base}, {records}."
    return f"SFT brings no significant change in {name} over {base}: {numbers}, {records}."


def _gspo(found: Comparison) -> str:
    if all(gain.low == gain.high == 0 for gain in found.gains["gspo", "sft"].values()):
        return "GSPO scores exactly as SFT on every metric."
    gain, name, numbers = _change(found, ("gspo", "sft"))
    match gain.mark:
        case "up":
            return f"GSPO raises {name} {numbers} over SFT."
        case "down":
            return f"GSPO lowers {name} {numbers} against SFT."
    return f"GSPO brings no significant change in {name} over SFT: {numbers}."


def _change(found: Comparison, pair: Pair) -> tuple[Cell, str, str]:
    """The difference in the main metric, the metric's name, and the difference in words."""
    metric, name = BENCHMARKS[found.benchmark].display.main
    after, before = (found.levels[model][metric].text for model in pair)
    gain = found.gains[pair][metric]
    return gain, name, f"from {before} to {after} ({gain})"


def _falls(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """One sentence for each stage that lowered an axis, one for what only both stages together lowered."""
    known: set[str] = set()
    for (later, earlier), before in {("sft", "base"): "the base", ("gspo", "sft"): "SFT"}.items():
        if fallen := _fallen(comparisons, (later, earlier)):
            yield f"{CHECKPOINTS[later]} significantly lowers {_listed(fallen)} against {before}."
        known |= fallen.keys()
    both = _fallen(comparisons, ("gspo", "base"))
    if left := {name: gain for name, gain in both.items() if name not in known}:
        yield f"The two stages together significantly lower {_listed(left)} against the base."
    if not known | left.keys():
        yield "No single axis fell significantly at any step."


def _fallen(comparisons: Sequence[Comparison], pair: Pair) -> dict[str, Cell]:
    """The axes that are significantly lower than before (the interval excludes 0)."""
    return {
        name: gain
        for found in comparisons
        for metric, name in BENCHMARKS[found.benchmark].display.axes.items()
        if (gain := found.gains[pair][metric]).mark == "down"
    }


def _added(rewards: Mapping[str, float]) -> Iterator[str]:
    if rewards:
        named = [f"“{ADDED_REWARDS.get(name, name)}” (weight {weight:g})" for name, weight in rewards.items()]
        *others, last = ["the paper's seven", *named]
        yield f"GSPO's rewards are {', '.join(others)} and {last}."


def _listed(fallen: dict[str, Cell]) -> str:
    *others, last = (f"{name} ({gain})" for name, gain in fallen.items())
    return f"{', '.join(others)} and {last}" if others else last
