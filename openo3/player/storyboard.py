"""A movie of an answer as scenes: what of the text is visible, and which part of the clip plays meanwhile.

The reasoning appears claim by claim. For each claim the clip plays up to its time and rests there. At the end
stands the answer, for which its span is played.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

LONGEST_S = 60.0

_OPENING_S, _CLAIM_S, _LAST_S = 1.4, 1.3, 3.5
_LEAD_S = 1.6  # of the clip before a claim's time
_BACK_S = 0.8  # the same where the clip has to go back
_WATCH_S = 5.0  # of the clip without claims, and of the answer's span


@dataclass(frozen=True)
class Scene:
    """For `seconds` the clip goes from `start_s` to `end_s`, with the first `pieces` of the text visible.

    `claim` is the index of the claim that the scene is about. `answered`: the answer is visible.
    """

    seconds: float
    start_s: float
    end_s: float
    pieces: int
    claim: int | None = None
    answered: bool = False


def storyboard(data: Mapping[str, Any], duration_s: float | None) -> list[Scene]:
    """The scenes of an answer, given as the player's `data`; together at most `LONGEST_S`.

    `duration_s` is the clip's, None for a picture.
    """
    end_s = duration_s or 0.0
    reasoning, answer = data["shown"]["reasoning"], data["shown"]["answer"]
    scenes = [Scene(_OPENING_S, 0.0, 0.0, 0)]
    scenes += _told(reasoning, data["claims"], scenes[-1], end_s)
    if len(scenes) == 1 and end_s:
        scenes.append(Scene(min(end_s, _WATCH_S), 0.0, end_s, len(reasoning)))
    before = replace(scenes[-1], pieces=len(reasoning), answered=True)
    for start, stop in data["spans"]:
        start, stop = min(start, end_s), min(stop, end_s)
        if stop > start:
            scenes.append(
                replace(before, claim=None, seconds=min(stop - start, _WATCH_S), start_s=start, end_s=stop)
            )
    scenes += _told(answer, data["claims"], replace(scenes[-1], pieces=len(reasoning), answered=True), end_s)
    last = scenes[-1]
    scenes.append(replace(last, seconds=_LAST_S, start_s=last.end_s, pieces=len(reasoning), answered=True))
    total_s = sum(scene.seconds for scene in scenes)
    return [replace(scene, seconds=scene.seconds * min(1.0, LONGEST_S / total_s)) for scene in scenes]


def _told(
    pieces: Sequence[Any], claims: Sequence[Mapping[str, Any]], before: Scene, end_s: float
) -> Iterator[Scene]:
    """Two scenes for each claim of a text: the way to its time, and a rest there."""
    here_s = before.end_s
    for index, piece in enumerate(pieces):
        if isinstance(piece, str) or "claim" not in piece:
            continue
        claim = piece["claim"]
        time_s = claims[claim]["time_s"]
        reached = before.pieces if before.answered else index
        if time_s is not None and end_s:
            time_s = min(time_s, end_s)
            start_s = max(here_s, time_s - _LEAD_S) if time_s > here_s else max(0.0, time_s - _BACK_S)
            if time_s > start_s:
                way = Scene(time_s - start_s, start_s, time_s, reached, claim, before.answered)
                yield way
            here_s = time_s
        shown = reached if before.answered else index + 1
        yield Scene(_CLAIM_S, here_s, here_s, shown, claim, before.answered)
