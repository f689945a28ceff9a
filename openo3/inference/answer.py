"""What a model says about a clip, with the evidence that it cites."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from openo3.core.evidence import Claim, Completion
from openo3.core.geometry import Span
from openo3.core.reading import final_answer
from openo3.inference.evidence_json import cited_claims, evidence_json
from openo3.inference.transcript import readable
from openo3.media.probe import Media


@dataclass(frozen=True)
class Vote:
    """An answer and how many of the sampled completions gave it."""

    answer: str
    count: int


@dataclass(frozen=True)
class Answer:
    """One answer about one clip.

    `completion` is the model's text, parsed; `path` and `media` are the clip and its facts. `frame_times_s`
    are the times in seconds of the frames that the model saw. `model` is the model's folder, `protocol` how
    it was asked. `votes` are empty unless several completions were sampled; `completion` is then the first
    one that gives the winning answer.
    """

    question: str
    completion: Completion
    path: Path
    media: Media
    frame_times_s: tuple[float, ...]
    model: str
    protocol: Mapping[str, Any]
    votes: tuple[Vote, ...] = ()

    @property
    def answer(self) -> str:
        """The answer as evaluation reads it, without the reasoning; see `final_answer`."""
        return final_answer(self.completion.text)

    @property
    def reasoning(self) -> str | None:
        """The text inside `<think>` with its evidence tags; `None` if there is none."""
        return self.completion.reasoning

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """Every claim of the reasoning and the answer once, in the order of the text.

        Boxes are normalised 0-1 of the frame; times are seconds, `None` in images.
        """
        return cited_claims(self.reasoning, self.answer, self.completion.space)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The `(start_s, end_s)` that the answer names, at most one."""
        span = self.completion.answer_span
        return () if span is None else (span,)

    def to_json(self) -> dict[str, Any]:
        """The answer as plain JSON values; see `evidence_json`.

        Boxes are given both normalised 0-1 and in source pixels.
        """
        return {
            "question": self.question,
            **evidence_json(self.completion.text, self.completion.space, self.media.size),
            "votes": [{"answer": vote.answer, "count": vote.count} for vote in self.votes],
            "model": self.model,
            "protocol": dict(self.protocol),
        }

    def __str__(self) -> str:
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False)

    def show(self, *, reasoning: bool = True) -> None:
        """Print the reasoning, unless it was printed before, and the answer.

        Boxes are in source pixels, times in seconds.
        """
        size = self.media.size
        if self.reasoning:
            shown = readable(self.reasoning, self.completion.space, size) if reasoning else ""
            print(shown, end="\n\n")
        print(f"Answer: {readable(self.answer, self.completion.space, size)}")
