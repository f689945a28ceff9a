"""Traces of a stage -> seconds per step, rates, and where the time goes.

A step lasts from one update to the next, without the time that a checkpoint took. Steps of one rollout differ
(the first one writes the completions), so whole rollouts are compared. The first one warms up and is left
out; of the others the median counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from openo3.rehearsal.trace import Event, Trace

DATA, DECODING, GATHERING, WAITING = "data", "rollout", "rollout: weights, encoding", "waiting for others"
SCORING, UPDATE = "log-probabilities", "update"


@dataclass(frozen=True)
class Training:
    """A training stage, measured. Rates are of one process, which has one GPU, or of the machine's cores.

    `step_s` is one update, with its share of a rollout. `parts` are seconds of it by what they were spent on
    and add up to it. `tokens_per_s` counts the tokens of packs in SFT, and in GSPO the prompt's and the
    completion's tokens of each completion, as TRL does; `completion_tokens` is a completion's mean length.
    `passed_tokens` and `passed_patches` pass the towers in one update, padding included.
    """

    steps: int
    step_s: float
    parts: Mapping[str, float]
    tokens_per_s: float
    completions_per_s: float | None
    completion_tokens: float | None
    passed_tokens: float
    passed_patches: float


def training(traces: Sequence[Trace], cycle: int) -> Training:
    """The numbers of a stage whose rollouts last `cycle` steps, from the traces of all its processes.

    Raises `ValueError` for traces without a measured rollout.
    """
    whole = {trace.rank: _cycles(trace, cycle) for trace in traces}
    count = min(len(found) for found in whole.values())
    if count < 1:
        raise ValueError(f"no whole rollout of {cycle} steps was measured")
    kept = range(1 if count > 1 else 0, count)
    by_cycle = [[whole[trace.rank][number] for trace in traces] for number in kept]
    walls = [fmean(each.wall_s for each in ranks) for ranks in by_cycle]
    wall = median(walls)
    parts = {name: fmean(_parts(ranks)[name] for ranks in by_cycle) for name in _parts(by_cycle[0])}
    shrink = wall / max(1e-9, sum(parts.values()))  # shares are of the mean, the whole is the median
    facts = [each.facts for ranks in by_cycle for each in ranks]
    completions = fmean(each.get("completions", 0.0) for each in facts)
    written = fmean(each.get("completion_tokens", 0.0) for each in facts)
    asked = fmean(each.get("prompt_tokens", 0.0) for each in facts)
    logged = _logged_tokens(traces[0], cycle, kept) / len(traces)
    return Training(
        steps=len(kept) * cycle,
        step_s=wall / cycle,
        parts={name: value * shrink / cycle for name, value in parts.items() if value > 0},
        tokens_per_s=((asked + written) if completions else logged) / wall,
        completions_per_s=completions / wall if completions else None,
        completion_tokens=written / completions if completions else None,
        passed_tokens=fmean(each.get("tokens", 0.0) for each in facts) / cycle,
        passed_patches=fmean(each.get("patches", 0.0) for each in facts) / cycle,
    )


def update_flops(found: Training, text_weights: int, vision_weights: int) -> float:
    """FLOPs of one update and process: six for each weight and each token or patch that passes it, forward
    and backward. Attention, the head, and layers that are computed again are not counted."""
    return 6 * (found.passed_tokens * text_weights + found.passed_patches * vision_weights)


def seconds_of(traces: Sequence[Trace], name: str) -> float | None:
    """How long the events of this name lasted in the slowest process, None if there was none."""
    found = [sum(event.seconds for event in trace.named(name)) for trace in traces if trace.named(name)]
    return max(found, default=None)


def loading_s(traces: Sequence[Trace]) -> float:
    """Seconds from the start of the slowest process to its first batch of data."""
    return max((trace.named("data")[0].start_s for trace in traces if trace.named("data")), default=0.0)


def steps_taken(traces: Sequence[Trace]) -> list[int]:
    """The numbers of the updates of the first process, in order."""
    return [int(event.facts["step"]) for event in traces[0].named("update")]


@dataclass(frozen=True)
class _Cycle:
    """A process's seconds of one rollout by name of event, and what its events count."""

    wall_s: float
    seconds: Mapping[str, float]
    facts: Mapping[str, float]


def _cycles(trace: Trace, cycle: int) -> list[_Cycle]:
    updates, first = trace.named("update"), trace.named("data")
    if not first:
        return []
    marks = [first[0].start_s, *(update.start_s for update in updates[cycle - 1 :: cycle])]
    return [_cycle(trace.events, start, end) for start, end in pairwise(marks)]


def _cycle(events: Sequence[Event], start: float, end: float) -> _Cycle:
    seconds: dict[str, float] = {}
    facts: dict[str, float] = {}
    for event in events:
        if start <= event.start_s < end and event.name not in ("training", "update"):
            seconds[event.name] = seconds.get(event.name, 0.0) + event.seconds
            if event.name in ("rollout", "step"):
                for name, value in event.facts.items():
                    facts[name] = facts.get(name, 0.0) + value
    return _Cycle(end - start - seconds.get("saving", 0.0), seconds, facts)


def _parts(ranks: Sequence[_Cycle]) -> dict[str, float]:
    """Seconds of a rollout by what they were spent on.

    Processes wait for the slowest: in a rollout for the one that decodes longest, in SFT for the one whose
    packs have the most tokens, for the share that the others have less.
    """

    def mean(name: str) -> float:
        return fmean(each.seconds.get(name, 0.0) for each in ranks)

    wall = fmean(each.wall_s for each in ranks)
    decoding = [each.seconds.get("decoding", each.seconds.get("rollout", 0.0)) for each in ranks]
    slowest = ranks[max(range(len(ranks)), key=decoding.__getitem__)]
    gathering = max(0.0, slowest.seconds.get("rollout", 0.0) - max(decoding))
    scoring = mean("scoring")
    data = mean("data")
    waiting = max(decoding) - fmean(decoding)
    step = mean("step") - mean("prompts") - mean("rollout") - scoring
    if not any(decoding):
        passed = [each.facts.get("tokens", 0.0) for each in ranks]
        waiting = step * (1 - fmean(passed) / max(passed)) if max(passed) else 0.0
    parts = {
        DATA: data,
        DECODING: fmean(decoding),
        GATHERING: gathering + mean("prompts"),
        SCORING: scoring,
        WAITING: waiting,
    }
    return {**parts, UPDATE: max(0.0, wall - sum(parts.values()))}


def _logged_tokens(trace: Trace, cycle: int, kept: range) -> float:
    """Tokens of all processes in a rollout, from what TRL counts as it trains."""
    counts = [entry["num_tokens"] for entry in trace.log if "num_tokens" in entry]
    ends = [0.0, *counts[cycle - 1 :: cycle]]
    return fmean(ends[number + 1] - ends[number] for number in kept) if len(ends) > kept[-1] + 1 else 0.0


@dataclass(frozen=True)
class Asked:
    """A condition in which a benchmark was asked."""

    benchmark: str
    condition: str
    records: int
    seconds: float


def asked(traces: Sequence[Trace]) -> list[Asked]:
    """What an evaluation asked, and how long it took, by the names of its progress bars: a decoding, or what
    all votes share (`8 samples`) and the rating of their evidence."""
    found: dict[tuple[str, str], Asked] = {}
    for event in traces[0].events:
        if not event.name.startswith("ask "):
            continue
        _, benchmark, condition = (part.strip() for part in event.name[4:].split(",", 2))
        before = found.get((benchmark, condition))
        seconds = event.seconds + (before.seconds if before else 0.0)
        found[benchmark, condition] = Asked(benchmark, condition, int(event.facts["records"]), seconds)
    return list(found.values())


def facts_of(traces: Sequence[Trace], name: str, fact: str) -> float:
    """The sum of a fact over the events of a name, in the first process."""
    return sum(event.facts.get(fact, 0.0) for event in traces[0].named(name))


def peak_gpu_bytes(traces: Sequence[Trace]) -> int | None:
    """The most bytes in use on any GPU, None on a CPU."""
    devices: list[dict[str, Any]] = [trace.device for trace in traces if trace.device]
    return max((device["peak_bytes"] for device in devices), default=None)
