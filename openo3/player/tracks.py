"""Where the boxes of claims are drawn at a moment of the clip; the same rules as in `player.js`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from openo3.core.schema import Box

SOLID_S = 0.15
HELD_S = 0.6
_AFTER_END_S = 0.05

Style = Literal["claimed", "between", "doubtful"]


@dataclass(frozen=True)
class Mark:
    """A box to draw (normalised), as claimed, or dashed between claims."""

    claim: int
    box: Box
    style: Style


def object_of(claim: Mapping[str, Any]) -> str:
    """Claims with equal keys are about one object."""
    return claim["object"].strip().lower()


def is_doubtful(claim: Mapping[str, Any], duration_s: float | None) -> bool:
    """True for a claim of a clip without a time, or with one after its end."""
    time_s = claim["time_s"]
    return duration_s is not None and (time_s is None or time_s > duration_s + _AFTER_END_S)


def marks(claims: Sequence[Mapping[str, Any]], known: Sequence[int], time_s: float) -> list[Mark]:
    """The boxes at `time_s` of those claims, given by index, that have a time."""
    objects: dict[str, list[int]] = {}
    for index in sorted(known, key=lambda index: claims[index]["time_s"]):
        objects.setdefault(object_of(claims[index]), []).append(index)
    return [mark for timed in objects.values() for mark in _marks_of_object(claims, timed, time_s)]


def boxes_of(claim: Mapping[str, Any]) -> list[Box]:
    """The normalised boxes of a claim."""
    return [box["normalised"] for box in claim["boxes"]]


def _marks_of_object(
    claims: Sequence[Mapping[str, Any]], timed: Sequence[int], time_s: float
) -> Iterator[Mark]:
    times = [claims[index]["time_s"] for index in timed]
    away_s = min(abs(time - time_s) for time in times)
    style: Style = "claimed" if away_s <= SOLID_S else "between"
    last = max((k for k, time in enumerate(times) if time <= time_s), default=None)
    following = min((k for k, time in enumerate(times) if time > time_s), default=None)
    if last is not None and following is not None and away_s > 0:
        first, second = (boxes_of(claims[timed[k]]) for k in (last, following))
        alone = times.count(times[last]) == times.count(times[following]) == 1
        if alone and len(first) == len(second):
            share = (time_s - times[last]) / (times[following] - times[last])
            nearest = timed[last if share < 0.5 else following]
            for a, b in zip(first, second, strict=True):
                moved = tuple(x + share * (y - x) for x, y in zip(a, b, strict=True))
                yield Mark(nearest, moved, style)
            return
    near = [k for k in (last, following) if k is not None and abs(times[k] - time_s) <= HELD_S]
    if near:
        chosen = min(near, key=lambda k: abs(times[k] - time_s))
        for k, time in enumerate(times):
            if time == times[chosen]:
                for box in boxes_of(claims[timed[k]]):
                    yield Mark(timed[k], box, style)
