"""How an answer fails: it is wrong in what, when or where, it cannot be read, or it cites no evidence.

    failures_of("when", 0.2, text)   ->   (Failure.LATE,)

The kinds are functions of a question's kind, its score and the texts, whatever the benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal

from openo3.core.evidence import parse_completion
from openo3.core.prompts import CITE, CITE_TIME, INSTRUCTIONS
from openo3.core.reading import final_answer, read_choice, read_times, read_where

PASSED = 0.5
"""Scores below this count as a failure: a wrong answer, or an overlap of less than half."""

Ability = Literal["what", "when", "where"]


class Failure(Enum):
    """A kind of failure: its `key`, its `title`, and what it means."""

    WRONG_WHAT = ("what", "Wrong what", "the answer names something else")
    LATE = ("late", "Late or early", "the answered span overlaps the true one by less than half")
    MISPLACED = ("misplaced", "Misplaced", "the answered boxes overlap the true ones by less than half")
    UNREAD = ("unread", "Unread", "no answer can be read in the text, or there is none")
    NO_EVIDENCE = ("no-evidence", "No evidence", "the reasoning cites nothing although it was asked to")

    def __init__(self, key: str, title: str, meaning: str) -> None:
        self.key, self.title, self.meaning = key, title, meaning


_WRONG = {"what": Failure.WRONG_WHAT, "when": Failure.LATE, "where": Failure.MISPLACED}


def ability_of(kind: str) -> Ability:
    """What a question of this kind asks for.

    >>> ability_of("when_2"), ability_of("which")
    ('when', 'what')
    """
    head = kind.partition("_")[0]
    return "when" if head == "when" else "where" if head == "where" else "what"


def failures_of(
    kind: str, score: float, text: str, prompt: str = "", options: Sequence[str] = ()
) -> tuple[Failure, ...]:
    """How the answer to one question fails, empty if it does not.

    `score` is in 0-1, `text` the whole completion, empty if the question was not asked. `options` are those
    of a choice.

    >>> [failure.key for failure in failures_of("when", 0.4, "From 1.0s to 3.0s")]
    ['late']
    """
    if not _is_read(kind, text, options):
        return (Failure.UNREAD,)
    found = [] if score >= PASSED else [_WRONG[ability_of(kind)]]
    completion, asked = parse_completion(text), _instruction(prompt)
    if (CITE in asked and not completion.claims) or (CITE_TIME in asked and not completion.times_s):
        found.append(Failure.NO_EVIDENCE)
    return tuple(found)


def _instruction(prompt: str) -> str:
    """The task's instruction that ends a prompt, empty if none does; a question may say anything."""
    last = prompt.rpartition("\n")[2]
    return last if last in INSTRUCTIONS.values() else ""


def _is_read(kind: str, text: str, options: Sequence[str]) -> bool:
    ability = ability_of(kind)
    if ability == "when":
        return read_times(text) is not None
    if ability == "where":
        return bool(read_where(text))
    return bool(read_choice(text, options)[0] if options else final_answer(text))
