"""Training records joined with their frames: what is asked, and what a model should answer.

examples = Examples.load("data/validated/sft.jsonl", FrameStore.open("data/frames/train"), encoder)
examples.prompt(examples.samples[0])     # frames, length, question with its task's instruction
examples.target(examples.samples[0])     # <think>...</think><answer>...</answer> in the model's box space
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from openo3.core.evidence import convert_boxes, format_completion, format_where
from openo3.core.geometry import NORMALISED, BoxSpace
from openo3.core.prompts import Prompts, seconds
from openo3.core.schema import Box, KeyFrame, Sample, Task
from openo3.files.artifacts import read_jsonl
from openo3.media.frame_store import Frame, FrameStore
from openo3.model.encode import Encoded, Prompt, PromptEncoder, Vision

_TIME = re.compile(r"<t>(\d+(?:\.\d+)?)</t>")
_TAG = re.compile(r"</?(?:obj|box|t)>")
_UNSEEN = Image.new("RGB", (1, 1))  # in place of frames of which only the number counts


@dataclass(frozen=True)
class Examples:
    """Samples whose frames are in the store; `without_frames` counts those whose frames are not, `too_long`
    those that `within` left out. Without `reasoning` all questions are plain and answered directly."""

    samples: Sequence[Sample]
    store: FrameStore
    encoder: PromptEncoder
    without_frames: int = 0
    too_long: int = 0
    reasoning: bool = True

    @classmethod
    def load(
        cls, path: str | Path, store: FrameStore, encoder: PromptEncoder, limit: int | None = None
    ) -> Examples:
        """Records of a validated file, the first `limit` of those that have frames."""
        samples = [Sample.from_json(row) for row in read_jsonl(path)]
        usable = [sample for sample in samples if sample.media in store]
        return cls(usable[:limit], store, encoder, len(samples) - len(usable))

    @property
    def counts(self) -> dict[str, int]:
        """Counts for a run's metrics: samples in use, and samples left out by reason."""
        return {
            "samples": len(self.samples),
            "without_frames": self.without_frames,
            "too_long": self.too_long,
        }

    def frames(self, sample: Sample) -> tuple[Frame, ...]:
        """The even frames; a temporal-spatial record's key frames are inserted among them."""
        return tuple(self.store.frames(sample.media, key_times(sample)))

    def prompt(self, sample: Sample, frames: tuple[Frame, ...] | None = None) -> Prompt:
        prompts = self.prompts if self.reasoning else self.prompts.plainly()
        text = prompts.task(sample.task, sample.question)
        duration_s = None if sample.is_image else self.store.duration_s(sample.media)
        return Prompt(frames or self.frames(sample), duration_s, text)

    @property
    def prompts(self) -> Prompts:
        """What the questions are asked with: the encoder's."""
        return self.encoder.prompts

    def box_space(self, sample: Sample) -> BoxSpace:
        """The coordinate space of the boxes that the model writes about this sample."""
        return self.encoder.box_space(self.store.sizes[sample.media])

    def target(self, sample: Sample) -> str:
        """The completion to learn: boxes as the model writes them, times with one decimal."""
        if sample.task is Task.WHERE:
            space = self.box_space(sample)
            items = sample.key_items or {}
            return format_where(
                {
                    key.time_s: space.from_normalised(box)
                    for key in sample.key_frames
                    for [box] in items[key.idx].values()
                }
            )
        text = format_completion(sample.reasoning or "", sample.answer) if self.reasoning else sample.answer
        text = convert_boxes(text, NORMALISED, self.box_space(sample))
        text = _TIME.sub(lambda found: f"<t>{seconds(float(found[1]))}</t>", text)
        return text if self.reasoning else _TAG.sub("", text)

    def with_direct(self) -> Examples:
        """Also ask, about each video, where one of its annotated objects is at the seconds that its boxes
        are known for, to be answered at once (`Task.WHERE`): the object with the most of them.

        A model that is trained only on reasoning forgets other forms of answers, and no published reward
        scores boxes at given seconds. These questions show only the evenly sampled frames, as V-STaR does.
        """
        first: dict[str, Sample] = {}
        known: dict[str, dict[str, dict[int, Box]]] = {}
        for sample in self.samples:
            for key in sample.key_frames if sample.task is Task.TEMPORAL_SPATIAL else ():
                second = round(key.time_s)
                for name, found in (sample.key_items or {}).get(key.idx, {}).items():
                    # Several objects of one name would be ambiguous, and V-STaR asks about whole seconds
                    if len(found) == 1 and abs(key.time_s - second) <= 0.25:
                        first.setdefault(sample.media, sample)
                        known.setdefault(sample.media, {}).setdefault(name, {})[second] = found[0]
        derived = [
            _where_sample(self.prompts, first[media], *max(boxes.items(), key=lambda named: len(named[1])))
            for media, boxes in known.items()
        ]
        return replace(self, samples=[*self.samples, *derived])

    def encode(self, sample: Sample) -> Encoded:
        return self.encoder.encode(self.prompt(sample))

    def within(self, max_tokens: int | None, *, answered: bool) -> Examples:
        """The samples of at most `max_tokens` tokens, of prompts alone or with their answers (`answered`).

        Longer ones are left out, never truncated. No frame is decoded.
        """
        if max_tokens is None:
            return self
        short = [sample for sample in self.samples if self.tokens(sample, answered=answered) <= max_tokens]
        return replace(self, samples=short, too_long=len(self.samples) - len(short))

    def tokens(self, sample: Sample, *, answered: bool) -> int:
        """Length of the prompt, and of the answer too if `answered`."""
        frames, vision = self.unseen(sample)
        encoded = self.encoder.encode(self.prompt(sample, frames), vision)
        answer = self.encoder.target(self.target(sample)) if answered else ()
        return len(encoded.prefix_ids) + len(encoded.context_ids) + len(answer)

    def unseen(self, sample: Sample) -> tuple[tuple[Frame, ...], Vision]:
        """The frames of `frames` without their pixels, for computing lengths. No frame is decoded."""
        times = self.store.times_s(sample.media, key_times(sample))
        frames = tuple(Frame(_UNSEEN, time_s, False) for time_s in times)
        return frames, self.encoder.unseen([self.store.sizes[sample.media]] * len(frames))

    def groups(self, most: int) -> list[list[int]]:
        """Indices of samples that show the same frames, up to `most` together; each index once."""
        by_frames: dict[tuple[str, tuple[float, ...]], list[int]] = {}
        for index, sample in enumerate(self.samples):
            by_frames.setdefault((sample.media, key_times(sample)), []).append(index)
        return [
            members[start : start + most]
            for members in by_frames.values()
            for start in range(0, len(members), most)
        ]


def _where_sample(prompts: Prompts, sample: Sample, name: str, boxes: Mapping[int, Box]) -> Sample:
    """The direct question about an object of a sample's video: where it is at the seconds of its boxes."""
    at_s = sorted(boxes)
    return Sample(
        id=f"{sample.id}/where/{name}",
        task=Task.WHERE,
        source=sample.source,
        question=prompts.where(f"Where is the {name}?", at_s),
        answer="",
        media=sample.media,
        duration_s=sample.duration_s,
        size=sample.size,
        key_frames=tuple(KeyFrame(number, float(second)) for number, second in enumerate(at_s)),
        key_items={number: {name: (boxes[second],)} for number, second in enumerate(at_s)},
    )


def key_times(sample: Sample) -> tuple[float, ...]:
    """Times of the key frames that are inserted into a sample's prompt."""
    if sample.task is not Task.TEMPORAL_SPATIAL:
        return ()
    return tuple(sorted(frame.time_s for frame in sample.key_frames))
