"""Whether a completion has the form that its task asks for: a reward in training, a number in evaluation."""

from __future__ import annotations

import re

from openo3.core.evidence import Completion
from openo3.core.schema import Task

GENERAL = (Task.MCQ, Task.FREE_FORM)
TIMED = (Task.TEMPORAL, Task.TEMPORAL_MCQ)

_OBJECT_BOX = re.compile(r"<obj>[^<]*</obj><box>\[[^<]*\]</box>")


def format_share(task: Task, completion: Completion) -> float:
    """1 for balanced blocks with the evidence that the task wants, 0.5 without it or any reasoning, else 0.

    >>> from openo3.core.evidence import parse_completion
    >>> blocks = "<think>{}</think><answer>?</answer>"
    >>> inside = ("<t>1</t>s <t>2</t>s", "<t>1</t>s", "<t>1</t>s <t>2s")
    >>> [format_share(Task.TEMPORAL, parse_completion(blocks.format(reasoning))) for reasoning in inside]
    [1.0, 0.5, 0.0]
    """
    text, reasoning = completion.text, completion.reasoning
    if reasoning is None or completion.answer is None:
        return 0.0
    if not (_balanced(text, "think", "answer") and _balanced(reasoning, "obj", "t", "box")):
        return 0.0
    if task in GENERAL:
        cited = True
    elif task in TIMED:
        cited = reasoning.count("<t>") >= 2
    elif task is Task.VISUAL:
        cited = _OBJECT_BOX.search(text) is not None
    else:
        cited = all(tag in reasoning for tag in ("<obj>", "<box>", "<t>"))
    return 1.0 if cited and reasoning.strip() else 0.5


def _balanced(text: str, *tags: str) -> bool:
    return all(text.count(f"<{tag}>") == text.count(f"</{tag}>") for tag in tags)
