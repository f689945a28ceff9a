"""How a benchmark's questions are asked: the conditions that `evaluate.decodings` names.

A fine-tuned model is asked in the evidence grammar that it was trained on (`greedy`, `sampled`). The base
model is asked plainly, as its own users would: the same question without the grammar's instruction. `blind`
shows what can be guessed. `voted` and `confident` sample several answers and join them into one
(`openo3.benchmarks.voting`). They ask the one question of a benchmark that has choices or a short answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = Literal["greedy", "sampled", "plain", "blind", "voted", "confident"]
Vote = Literal["majority", "relevance"]


@dataclass(frozen=True)
class Condition:
    """`label` is what people read, after the name of a model: "the base asked plainly".

    `blank` hides what is on the frames. `bare` leaves the evidence grammar's instruction out of the question,
    so the form of such an answer says nothing. In a `vote` sampled answers count alike, or by the relevance
    of the evidence that they cite; `evaluate.votes` says how they are sampled.
    """

    name: Name
    label: str
    temperature: float = 0.0
    blank: bool = False
    bare: bool = False
    vote: Vote | None = None


_ALL = (
    Condition("greedy", "asked in the grammar"),
    Condition("plain", "asked plainly", bare=True),
    Condition("sampled", "asked in the grammar, sampled at temperature 1", temperature=1.0),
    Condition("blind", "asked in the grammar, frames blanked", blank=True),
    Condition("voted", "asked in the grammar, the majority of sampled answers", vote="majority"),
    Condition("confident", "asked in the grammar, sampled answers by their evidence", vote="relevance"),
)
CONDITIONS: dict[str, Condition] = {condition.name: condition for condition in _ALL}
"""Every condition by its name."""
