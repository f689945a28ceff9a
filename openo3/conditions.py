"""How a benchmark's questions are asked: the conditions that `evaluate.decodings` names.

A model that was taught the evidence grammar is asked in it (`greedy`, `sampled`). The base model was not, so
it is asked plainly: the same question without the grammar's instruction. `blind` shows what can be guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = Literal["greedy", "sampled", "plain", "blind"]


@dataclass(frozen=True)
class Condition:
    """`label` is what people read, after the name of a model: "the base asked plainly".

    `blank` hides what is on the frames. `bare` leaves the evidence grammar's instruction out of the question,
    so the form of such an answer says nothing.
    """

    name: Name
    label: str
    temperature: float = 0.0
    blank: bool = False
    bare: bool = False


_ALL = (
    Condition("greedy", "asked in the grammar"),
    Condition("plain", "asked plainly", bare=True),
    Condition("sampled", "asked in the grammar, sampled at temperature 1", temperature=1.0),
    Condition("blind", "asked in the grammar, frames blanked", blank=True),
)
CONDITIONS: dict[str, Condition] = {condition.name: condition for condition in _ALL}
"""Every condition by its name."""
