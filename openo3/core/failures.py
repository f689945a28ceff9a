"""How an answer fails: it is wrong in what, when or where, it cannot be read, or it cites no evidence.

    failures_of({"when": 0.2}, text)   ->   (Failure.LATE,)

The kinds are functions of what a question asks for, its scores and the text, whatever the benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Literal

from openo3.core.evidence import parse_completion
from openo3.core.reading import final_answer, read_choice, read_times, read_where

PASSED = 0.5
"""Scores below this count as a failure: a wrong answer, or an overlap of less than half."""

Ability = Literal["what", "when", "where"]
"""What a question asks for: words or an option, a span of time, boxes."""


class Failure(Enum):
    """A kind of failure: its `key`, its `title`, and what it means."""

    WRONG_WHAT = ("what", "Wrong what", "the answer names something else")
    LATE = ("late", "Late or early", "the answered span overlaps the true one by less than half")
    MISPLACED = ("misplaced", "Misplaced", "the answered boxes overlap the true ones by less than half")
    UNREAD = ("unread", "Unread", "no answer can be read in the text, or there is none")
    NO_EVIDENCE = ("no-evidence", "No evidence", "the reasoning cites nothing although it should")

    def __init__(self, key: str, title: str, meaning: str) -> None:
        self.key, self.title, self.meaning = key, title, meaning


_WRONG = {"what": Failure.WRONG_WHAT, "when": Failure.LATE, "where": Failure.MISPLACED}


def failures_of(
    scores: Mapping[Ability, float], text: str, *, options: Sequence[str] = (), cites: bool = False
) -> tuple[Failure, ...]:
    """How the answer to one question fails, in the order of `Failure`; empty if it does not.

    `scores` has a share in 0-1 for each ability that the question asks for. `text` is the whole completion,
    empty if there is none. `options` are those of a choice. With `cites` the model was asked in the evidence
    grammar, so the reasoning about what cites boxes, and that about when cites times.

    >>> [failure.key for failure in failures_of({"when": 0.4}, "From 1.0s to 3.0s")]
    ['late']
    """
    found = set()
    for ability, score in scores.items():
        if not _is_read(ability, text, options) and not (ability == "when" and _says_where(scores, text)):
            found.add(Failure.UNREAD)
        elif score < PASSED:
            found.add(_WRONG[ability])
    may_cite = cites and scores and "where" not in scores and Failure.UNREAD not in found
    if may_cite and not _cites(text, "what" in scores):
        found.add(Failure.NO_EVIDENCE)
    return tuple(failure for failure in Failure if failure in found)


def _cites(text: str, boxes: bool) -> bool:
    """True if the text cites a box as evidence, or for a question about time alone a time."""
    completion = parse_completion(text)
    return bool(completion.claims or completion.answer_boxes if boxes else completion.times_s)


def _says_where(scores: Mapping[Ability, float], text: str) -> bool:
    """True for an answer to when and where in one: boxes at seconds."""
    return "where" in scores and bool(read_where(text))


def _is_read(ability: Ability, text: str, options: Sequence[str]) -> bool:
    if ability == "when":
        return read_times(text) is not None
    if ability == "where":
        return bool(read_where(text))
    return bool(read_choice(text, options)[0] if options else final_answer(text))
