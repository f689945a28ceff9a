"""The seven rewards of Open-o3 Video, and two of our own, as pure functions of one sample and one parsed
completion.

Each returns a share in 0-1, or `None` where it does not apply to the sample's task (the release gives 0
there, which sums the same). After the paper (arXiv 2510.20579, section 3) and the release's
`reward_func.py`, with these deviations: every sample is judged by its own task, not by that of the first
row of its batch; the temporal gate is symmetric unless `gate="released"`; an object's name may have spaces;
text that cannot be read is no evidence, and never an exception.

Boxes of both sample and completion are normalised, times are in seconds. `progress` is the share of the
training that is done, 0-1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from openo3.core.answers import option_of
from openo3.core.evidence import Claim, Completion, parse_boxes, parse_span, read_where, second_key
from openo3.core.format_check import TIMED, format_share
from openo3.core.geometry import box_iou, tiou
from openo3.core.rouge import rouge
from openo3.core.schema import Box, KeyFrame, Sample, Task

Gate = Literal["symmetric", "released"]
Reward = Callable[..., float | None]

TAU_S = 1.0
"""A claim is scored against a key frame less than this away."""

WORDED = (Task.TEMPORAL_SPATIAL, Task.FREE_FORM)


def ans_acc(sample: Sample, completion: Completion, **_: object) -> float | None:
    """The right option, or for answers in words the mean of ROUGE-1, -2 and -L (F-measures, stemmed).

    >>> from openo3.core.evidence import parse_completion
    >>> sample = Sample("1", Task.MCQ, "", "Which?", "B", "")
    >>> [ans_acc(sample, parse_completion(f"<answer>{a}</answer>")) for a in ("(B)", "B.", "b", "B or C")]
    [1.0, 1.0, 0.0, 0.0]
    """
    answer = completion.answer or ""
    if sample.task is Task.MCQ:
        return _is_option(answer, sample.answer.strip())
    if sample.task is Task.TEMPORAL_MCQ:
        return _is_option(option_of(answer), option_of(sample.answer))
    return rouge(sample.answer, answer) if sample.task in WORDED else None


def ans_tiou(sample: Sample, completion: Completion, **_: object) -> float | None:
    """Temporal IoU of the answer's first span with the true one.

    >>> from openo3.core.evidence import parse_completion
    >>> sample = Sample("1", Task.TEMPORAL, "", "When?", "From <t>0.0</t>s to <t>4.0</t>s", "")
    >>> ans_tiou(sample, parse_completion("<answer>From <t>2.0</t>s to <t>4.0</t>s</answer>"))
    0.5
    """
    if sample.task not in TIMED:
        return None
    said, true = completion.answer_span, parse_span(sample.answer)
    return tiou(said, true) if said and true else 0.0


def ans_viou(sample: Sample, completion: Completion, **_: object) -> float | None:
    """IoU of the answer's first box with the true box.

    >>> from openo3.core.evidence import parse_completion
    >>> sample = Sample("1", Task.VISUAL, "", "Where?", "<obj>cup</obj><box>[0,0,0.5,1]</box>", "")
    >>> ans_viou(sample, parse_completion("<answer><obj>cup</obj><box>[0,0,1,1]</box></answer>"))
    0.5
    """
    return _best_iou(completion.answer_boxes[:1], sample) if sample.task is Task.VISUAL else None


def thk_temporal_point(
    sample: Sample, completion: Completion, *, progress: float = 0.0, **_: object
) -> float | None:
    """Mean nearness of the reasoning's times to their nearest key frames, ever stricter (`sigma_s`).

    >>> from openo3.core.evidence import parse_completion
    >>> sample = Sample("1", Task.TEMPORAL_SPATIAL, "", "?", "", "", key_frames=(KeyFrame(1, 3.0),))
    >>> completion = parse_completion("<think>at <t>5.0</t>s</think>")
    >>> [round(thk_temporal_point(sample, completion, progress=p), 3) for p in (0, 0.5, 0.75)]
    [0.882, 0.607, 0.135]
    """
    if sample.task is not Task.TEMPORAL_SPATIAL:
        return None
    if not sample.key_frames:
        return 0.0
    sigma = sigma_s(progress)
    away = (min(abs(time - frame.time_s) for frame in sample.key_frames) for time in completion.times_s)
    return _mean([math.exp(-(delta * delta) / (2 * sigma * sigma)) for delta in away])


def thk_temporal_segment(sample: Sample, completion: Completion, **_: object) -> float | None:
    """Share of the reasoning's times that lie in the true span, its ends included.

    >>> from openo3.core.evidence import parse_completion
    >>> sample = Sample("1", Task.TEMPORAL, "", "When?", "From <t>1.0</t>s to <t>4.0</t>s", "")
    >>> thk_temporal_segment(sample, parse_completion("<think><t>4</t>s and <t>4.5</t>s</think>"))
    0.5
    """
    if sample.task not in TIMED:
        return None
    true = parse_span(sample.answer)
    return _mean([float(true[0] <= time <= true[1]) for time in completion.times_s]) if true else 0.0


def thk_spatial(
    sample: Sample,
    completion: Completion,
    *,
    gate: Gate = "symmetric",
    gate_s: float = TAU_S,
    coverage: bool = False,
    **_: object,
) -> float | None:
    """How well the reasoning's boxes fit: images, the best box; videos, the mean over its timed claims.

    That mean alone, as published, is highest for a reasoning that cites the easiest object and no other.
    `coverage` averages it with the mean over the annotated objects of how well the best claim fits each.

    >>> from openo3.core.evidence import parse_completion
    >>> items = {1: {"cup": ((0.0, 0.0, 0.5, 1.0),)}}
    >>> frames = (KeyFrame(1, 3.0),)
    >>> sample = Sample("1", Task.TEMPORAL_SPATIAL, "", "?", "", "", key_frames=frames, key_items=items)
    >>> claim = "<obj>cup</obj><box>[0,0,1,1]</box>at<t>{}</t>s"
    >>> completion = parse_completion(f"<think>{claim.format(3.5)} {claim.format(9)}</think>")
    >>> thk_spatial(sample, completion), thk_spatial(sample, completion, gate="released")
    (0.25, 0.5)
    >>> thk_spatial(sample, completion, coverage=True)
    0.375
    """
    if sample.task is Task.VISUAL:
        return _best_iou(completion.boxes, sample)
    if sample.task is not Task.TEMPORAL_SPATIAL:
        return None
    at = [
        (claim, _key_frame(sample, claim.time_s, gate, gate_s))
        for claim in completion.claims
        if claim.time_s is not None
    ]
    fits = [[_fit(claim, trues) for trues in _objects(sample, frame)] for claim, frame in at]
    cited = _mean([max(of_claim, default=0.0) for of_claim in fits])
    if not coverage:
        return cited
    found = [
        max((_fit(claim, trues) for claim, frame in at if frame is key), default=0.0)
        for key in sample.key_frames
        for trues in _objects(sample, key)
    ]
    return (cited + _mean(found)) / 2


def _format(sample: Sample, completion: Completion, **_: object) -> float | None:
    return None if sample.task is Task.WHERE else format_share(sample.task, completion)


def ans_where(sample: Sample, completion: Completion, **_: object) -> float | None:
    """Mean over the asked seconds of the best IoU of the boxes answered for each, as V-STaR counts it.

    Not of the paper, whose rewards judge boxes in reasoning only: for direct questions (`Task.WHERE`).

    >>> from openo3.core.evidence import parse_completion
    >>> items = {1: {"cup": ((0.0, 0.0, 0.5, 1.0),)}, 2: {"cup": ((0.0, 0.0, 0.5, 1.0),)}}
    >>> frames = (KeyFrame(1, 3.0), KeyFrame(2, 4.0))
    >>> sample = Sample("1", Task.WHERE, "", "?", "", "", key_frames=frames, key_items=items)
    >>> ans_where(sample, parse_completion('{"3": [0,0,1,1]}'))
    0.25
    """
    if sample.task is not Task.WHERE:
        return None
    said = read_where(completion.text, completion.space)
    return _mean(
        [
            max((box_iou(box, true) for box in said.get(second_key(frame.time_s), ())), default=0.0)
            for frame in sample.key_frames
            for trues in _objects(sample, frame)
            for true in trues
        ]
    )


def thk_objects(sample: Sample, completion: Completion, **_: object) -> float | None:
    """F1 of the objects that the reasoning cites, by name, against the annotated ones of all key frames.

    Not of the paper, whose rewards read no names: a reasoning that leaves out a step, or puts one in, loses
    nothing there if its boxes fit. An object annotated in two key frames should be cited twice.

    >>> from openo3.core.evidence import parse_completion
    >>> items = {1: {"cup": ((0.0, 0.0, 0.5, 1.0),)}, 2: {"man": ((0.0, 0.0, 0.5, 1.0),)}}
    >>> frames = (KeyFrame(1, 3.0), KeyFrame(2, 4.0))
    >>> sample = Sample("1", Task.TEMPORAL_SPATIAL, "", "?", "", "", key_frames=frames, key_items=items)
    >>> claim = "<obj>Cup</obj><box>[0,0,1,1]</box>at<t>3.0</t>s"
    >>> thk_objects(sample, parse_completion(f"<think>{claim}</think>"))
    0.6666666666666666
    """
    if sample.task is not Task.TEMPORAL_SPATIAL:
        return None
    items = sample.key_items or {}
    true = Counter(_folded(name) for frame in sample.key_frames for name in items.get(frame.idx, {}))
    said = Counter(_folded(claim.name) for claim in completion.claims if claim.time_s is not None)
    total = true.total() + said.total()
    return 2 * (true & said).total() / total if total else 0.0


REWARDS: Mapping[str, Reward] = {
    "ans_acc": ans_acc,
    "ans_tiou": ans_tiou,
    "ans_viou": ans_viou,
    "thk_temporal_point": thk_temporal_point,
    "thk_temporal_segment": thk_temporal_segment,
    "thk_spatial": thk_spatial,
    "format": _format,
}
"""The paper's."""
ADDED: Mapping[str, Reward] = {"ans_where": ans_where, "thk_objects": thk_objects}
"""Ours, which count only where a run gives them a weight."""


def all_rewards() -> dict[str, Reward]:
    """The paper's and ours, in the order of their weights."""
    return {**REWARDS, **ADDED}


@dataclass(frozen=True)
class RewardSettings:
    """How a training run scores: `gate`, `gate_s` and `coverage` as in `thk_spatial`; `weights` by reward
    name, by default 1 for the paper's and 0 for ours. Without `adaptive` the temporal proximity is as strict
    from the start as it otherwise is at the end.

    Raises `ValueError` for a weight of a reward that does not exist, and for numbers out of range.
    """

    gate: Gate = "symmetric"
    gate_s: float = TAU_S
    coverage: bool = False
    adaptive: bool = True
    weights: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if unknown := (self.weights or {}).keys() - all_rewards().keys():
            raise ValueError(f"no reward {min(unknown)}; there are {', '.join(all_rewards())}")
        if wrong := [name for name, weight in (self.weights or {}).items() if not weight >= 0]:
            raise ValueError(f"weights.{wrong[0]} must be at least 0, got {(self.weights or {})[wrong[0]]}")
        if not self.gate_s > 0:
            raise ValueError(f"gate_s must be greater than 0, got {self.gate_s:g}")

    def weight(self, name: str) -> float:
        return (self.weights or {}).get(name, float(name in REWARDS))

    @property
    def added(self) -> dict[str, float]:
        """Our own rewards that count in this run, with their weights."""
        return {name: self.weight(name) for name in ADDED if self.weight(name)}


def score(
    sample: Sample, completion: Completion, progress: float = 0.0, settings: RewardSettings | None = None
) -> dict[str, float | None]:
    """The paper's rewards of one completion and those of ours that have a weight, by name, unweighted."""
    settings = settings or RewardSettings()
    options = {
        "progress": progress if settings.adaptive else 1.0,
        "gate": settings.gate,
        "gate_s": settings.gate_s,
        "coverage": settings.coverage,
    }
    return {
        name: reward(sample, completion, **options)
        for name, reward in all_rewards().items()
        if name in REWARDS or settings.weight(name)
    }


def total(rewards: Mapping[str, float | None], settings: RewardSettings | None = None) -> float:
    """The weighted sum of those that apply."""
    settings = settings or RewardSettings()
    return math.fsum(settings.weight(name) * value for name, value in rewards.items() if value is not None)


def sigma_s(progress: float) -> float:
    """Width of the adaptive temporal proximity in seconds: 4 at the start, 1 from three quarters on.

    It falls as 4(1-p), to 1 at three quarters; the release's `step_percent`.
    """
    return 4 * (1 - progress) if progress < 0.75 else 1.0


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _is_option(choice: str, letter: str) -> float:
    accepted = (letter, f"{letter}.", f"({letter})", f"[{letter}]") if letter else ()
    return float(choice.strip() in accepted)


def _best_iou(boxes: tuple[Box, ...], sample: Sample) -> float:
    """Best overlap of any of the boxes with the first box of the true answer."""
    true = parse_boxes(sample.answer)[:1]
    return max((box_iou(box, true[0]) for box in boxes), default=0.0) if true else 0.0


def _objects(sample: Sample, frame: KeyFrame | None) -> Collection[tuple[Box, ...]]:
    """The true boxes of each object of a key frame; nothing where no key frame counts."""
    return (sample.key_items or {}).get(frame.idx, {}).values() if frame else ()


def _fit(claim: Claim, trues: Sequence[Box]) -> float:
    """Of a claim to an object: the mean over its true boxes of the best claimed one."""
    return _mean([max(box_iou(box, true) for box in claim.boxes) for true in trues])


def _key_frame(sample: Sample, claimed_s: float, gate: Gate, gate_s: float) -> KeyFrame | None:
    """The nearest key frame in time among those that the gate admits.

    The paper admits a key frame within `gate_s` of the claim; the release tests `t_key - t < gate_s` without
    the absolute value and so admits every earlier key frame as well.
    """
    ahead = [(frame.time_s - claimed_s, frame) for frame in sample.key_frames]
    if gate == "released":
        admitted = [(abs(delta), frame) for delta, frame in ahead if delta < gate_s]
    else:
        admitted = [(abs(delta), frame) for delta, frame in ahead if abs(delta) < gate_s]
    return min(admitted, key=lambda pair: pair[0])[1] if admitted else None
