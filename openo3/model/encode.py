"""Encode frames and a question as token IDs. Only this module gives prompts to a processor.

encoder = PromptEncoder(processor)
encoded = encoder.encode(Prompt(frames, duration_s=9.5, text="When is the red circle in view? ..."))
encoded.prefix_ids    # the frames with their times, shared by all questions about them
encoded.context_ids   # the question and the opening of the answer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from openo3.core.geometry import RELATIVE_1000, BoxSpace, pixels
from openo3.core.prompts import Prompts
from openo3.prompt_file import default_prompts

if TYPE_CHECKING:
    from openo3.media.frame_store import Frame


@dataclass(frozen=True)
class Prompt:
    """A question about some frames, those `of_question` last; `duration_s` is `None` for a still image.

    Without frames it is text alone.
    """

    frames: tuple[Frame, ...]
    duration_s: float | None
    text: str


@dataclass(frozen=True)
class Vision:
    """Processed frames, see `Pack`. `pixel_values` is `None` if only lengths are needed."""

    pixel_values: torch.Tensor | None
    grids: np.ndarray


@dataclass(frozen=True)
class Encoded:
    """A tokenised prompt, cut after its frames."""

    prefix_ids: tuple[int, ...]
    context_ids: tuple[int, ...]
    vision: Vision


_QUESTION = "\0"  # placeholder for the question in the rendered chat template


class PromptEncoder:
    """Tokenises prompts for one processor of the Qwen-VL family.

    Questions and answers are untrusted: what looks like a special token in them (`<|im_end|>`,
    `<|image_pad|>`) is read as the characters it is written with, so no record can end a turn or ask for
    an image that is not there. The grammar's tags are tokens all the same. `prompts` say what surrounds a
    question, by default those that are installed with openo3.
    """

    def __init__(self, processor: Any, prompts: Prompts | None = None) -> None:
        self.processor = processor
        self.prompts = prompts or default_prompts()
        self.tokenizer = processor.tokenizer
        self.image_token: str = processor.image_token
        self.image_token_id: int = processor.image_token_id
        self.merge: int = processor.image_processor.merge_size
        # the generation settings of Qwen models name both as end tokens
        self.end_ids: tuple[int, ...] = (self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)

    def box_space(self, size: tuple[int, int]) -> BoxSpace:
        """How boxes in frames of this `(W, H)` are written: Qwen3-VL in thousandths, Qwen2.5-VL in pixels."""
        if type(self.processor).__name__.startswith("Qwen3VL"):
            return RELATIVE_1000
        return pixels(size)

    def vision(self, frames: Sequence[Frame]) -> Vision:
        """Frames as patches. They already have the model's size, so nothing is resized."""
        if not frames:
            return self.unseen([])
        images = [frame.image for frame in frames]
        made = self.processor.image_processor(images=images, do_resize=False, return_tensors="pt")
        return Vision(made["pixel_values"], made["image_grid_thw"].numpy())

    def unseen(self, sizes: Sequence[tuple[int, int]]) -> Vision:
        """Processed frames of these `(W, H)` without pixels, for computing lengths."""
        patch = self.processor.image_processor.patch_size
        grids = [[1, height // patch, width // patch] for width, height in sizes]
        return Vision(None, np.array(grids, dtype=np.int64).reshape(-1, 3))

    def encode(self, prompt: Prompt, vision: Vision | None = None) -> Encoded:
        """Token IDs of a prompt. `vision` is the result of processing the same frames before."""
        vision = vision or self.vision(prompt.frames)
        times_s = [frame.time_s for frame in prompt.frames if not frame.of_question]
        pictures = len(prompt.frames) - len(times_s)
        messages = self.prompts.messages(times_s, prompt.duration_s, _QUESTION, pictures)
        rendered = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        before, after = rendered.split(_QUESTION)
        head = self._with_patches(before, vision.grids)
        prefix, opening = self.tokenizer([head, after], add_special_tokens=False).input_ids
        return Encoded(tuple(prefix), (*self._untrusted(prompt.text), *opening), vision)

    def length(self, prompt: Prompt) -> int:
        """How many tokens a prompt has."""
        encoded = self.encode(prompt, self.unseen([frame.image.size for frame in prompt.frames]))
        return len(encoded.prefix_ids) + len(encoded.context_ids)

    def unexpanded(self, encoded: Encoded) -> list[int]:
        """A prompt's ids with one image token for each frame, for engines that expand it to its patches."""
        ids = (*encoded.prefix_ids, *encoded.context_ids)
        return [
            token
            for first, run in groupby(ids)
            for token in ([first] if first == self.image_token_id else run)
        ]

    def target(self, text: str) -> tuple[int, ...]:
        """Token ids of an answer, with the token that ends it."""
        return (*self._untrusted(text), self.tokenizer.eos_token_id)

    def token(self, text: str) -> int:
        """The id of the one token that `text` is. Raises `ValueError` if it is not one."""
        ids = self._untrusted(text)
        if len(ids) != 1:
            raise ValueError(f"{text!r} is {len(ids)} tokens of this model, expected one")
        return ids[0]

    @property
    def side_multiple(self) -> int:
        """What each side of a frame is a multiple of, in pixels."""
        return self.processor.image_processor.patch_size * self.merge

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated tokens, the grammar's tags kept."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _untrusted(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids

    def _with_patches(self, text: str, grids: np.ndarray) -> str:
        """One image token for each merged patch, in place of one for each image."""
        *pieces, rest = text.split(self.image_token)
        counts = grids.prod(axis=1) // self.merge**2
        filled = [piece + self.image_token * int(count) for piece, count in zip(pieces, counts, strict=True)]
        return "".join(filled) + rest
