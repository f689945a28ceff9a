"""A question about a clip, ready for a model, and how its completions become an `Answer`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from openo3.core.evidence import parse_completion
from openo3.core.geometry import BoxSpace
from openo3.core.schema import Task
from openo3.inference.answer import Answer, Vote
from openo3.media.decode import DecodedVideo
from openo3.media.frame_store import Frame
from openo3.media.probe import Media
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt


@dataclass(frozen=True)
class Asked:
    """`task` is the kind of answer, `None` for a question without the evidence grammar's instruction.

    `text` is the question with its instruction, `space` that of the boxes in the model's text, `model` its
    folder.
    """

    question: str
    task: Task | None
    text: str
    path: Path
    media: Media
    video: DecodedVideo
    space: BoxSpace
    model: str

    @cached_property
    def prompt(self) -> Prompt:
        shown = tuple(Frame(shot.image, shot.time_s, shot.key) for shot in self.video.shots)
        return Prompt(shown, self.video.duration_s, self.text)

    @property
    def frame_times_s(self) -> tuple[float, ...]:
        """Of the frames that the model sees, in seconds; empty for an image."""
        return () if self.video.duration_s is None else tuple(shot.time_s for shot in self.video.shots)

    def answer(self, completion: str, sampling: Sampling, votes: tuple[Vote, ...] = ()) -> Answer:
        """What a completion, whole or so far, says."""
        return Answer(
            question=self.question,
            completion=parse_completion(completion, self.space),
            path=self.path,
            media=self.media,
            frame_times_s=self.frame_times_s,
            model=self.model,
            protocol=self.protocol(sampling),
            votes=votes,
        )

    def protocol(self, sampling: Sampling) -> Mapping[str, Any]:
        """How the model is asked."""
        return {
            "task": None if self.task is None else str(self.task),
            "prompt": self.text,
            "frames": len(self.video.shots),
            "frame_size": list(self.video.size),
            "frame_times_s": list(self.frame_times_s),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_new_tokens": sampling.max_new_tokens,
            "seed": sampling.seed,
        }
