"""The reward `necessity`: an answer should depend on the evidence that its reasoning cites.

It is the only reward that asks the model: each claim's boxes are hidden, and the completion is scored
again (`openo3.model.necessity`). That takes several forward passes for each claim, so it is computed
on one group in `every`. In the other groups it does not count; advantages are taken within a group, so none
is at a disadvantage. It is off unless `gspo.necessity` is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from openo3.configuration import Positive, within
from openo3.core.evidence import parse_completion
from openo3.core.schema import Task
from openo3.model.engine import LocalEngine
from openo3.model.necessity import MAIN, Effect, Hiding, Question, claim_effects, placed_claims
from openo3.training.examples import Examples

NAME = "necessity"
CITING = (Task.TEMPORAL_SPATIAL, Task.VISUAL, Task.MCQ, Task.FREE_FORM)
"""The tasks whose reasoning is asked to cite boxes."""


@dataclass(frozen=True)
class NecessityParams:
    """The reward's `weight`; it is computed on one group in `every`, with `draws` random places a claim;
    `around_s` and `margin` are as in `openo3.model.necessity.Hiding`."""

    weight: float = 1.0
    every: Positive = 4
    draws: Positive = 2
    around_s: float = 1.0
    margin: float = 0.1

    def __post_init__(self) -> None:
        within("weight", self.weight, above=0)
        within("around_s", self.around_s, at_least=0)
        within("margin", self.margin, at_least=0)

    def hiding(self, seed: int) -> Hiding:
        return Hiding(self.around_s, self.margin, draws=self.draws, seed=seed)


class NecessityReward:
    """The reward as TRL calls it. `answering` opens the trainer's engine with the weights of now; the trainer
    sets it."""

    __name__ = NAME

    def __init__(self, examples: Examples, params: NecessityParams) -> None:
        self.examples, self.params = examples, params
        self.answering: Callable[[], AbstractContextManager[LocalEngine]] | None = None

    def __call__(
        self, completions: Sequence[Any], sample: Sequence[int], trainer_state: Any, **_: Any
    ) -> list[float | None]:
        """Shares in 0-1 for the groups whose turn it is; None elsewhere, and for tasks that cite nothing."""
        step = trainer_state.global_step
        groups = [list(rows) for _, rows in groupby(range(len(sample)), key=lambda row: sample[row])]
        turn = [
            row
            for number, rows in enumerate(groups)
            if not (number + step) % self.params.every
            for row in rows
        ]
        rows = [row for row in turn if self.examples.samples[sample[row]].task in CITING]
        rewards: list[float | None] = [None] * len(sample)
        texts = [completions[row][0]["content"] for row in rows]
        for row, reward in zip(rows, self._rewards([sample[row] for row in rows], texts, step), strict=True):
            rewards[row] = reward
        return rewards

    def _rewards(self, samples: Sequence[int], texts: Sequence[str], step: int) -> list[float]:
        if self.answering is None:
            raise RuntimeError("the reward necessity needs the model of a GroundedGSPOTrainer")
        hiding = self.params.hiding(step)
        questions: dict[int, Question] = {}
        prompts = {index: self.examples.prompt(self.examples.samples[index]) for index in set(samples)}
        for row, (index, text) in enumerate(zip(samples, texts, strict=True)):
            completion = parse_completion(text, self.examples.box_space(self.examples.samples[index]))
            prompt = prompts[index]
            claims, _ = placed_claims(completion, prompt.frames, prompt.duration_s, hiding)
            if completion.answer and claims:
                places = [(claim.place, claim.number) for claim in claims]
                questions[row] = Question(prompt, completion, places, key=row)
        with self.answering() as engine:
            effects = claim_effects(
                engine.model, engine.encoder, [*questions.values()], hiding,
                engine.tokens_per_batch,
            )  # fmt: skip
        found = dict(zip(questions, map(share_lost, effects), strict=True))
        return [found.get(row, 0.0) for row in range(len(samples))]


def share_lost(effects: Sequence[Effect]) -> float:
    """The mean over the claims of the share of the probability that hiding a claim's boxes takes,
    beyond what hiding random ones takes; 0 where it takes less."""
    return math.fsum(-math.expm1(-max(0.0, effect.necessity(MAIN))) for effect in effects) / len(effects)
