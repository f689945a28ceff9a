"""Two real model classes with random weights: minimal, but with every part of the large models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLForConditionalGeneration,
)

from openo3.media.frame_store import Frame
from openo3.model.attention import attend_framewise
from openo3.model.decoding import Generation, Sampling, decode
from openo3.model.encode import Prompt, PromptEncoder
from openo3.model.packing import Branch, Pack, collate, model_inputs
from openo3.shapes import tiny

CORPUS = [
    "Frame 1 at 2.0s: \nFrame 2 at 3.5s: \nThe video lasts 9.5 seconds.\nuser assistant system",
    "When is the red circle in view? From 1.0s to 4.5s",
    "Which shape enters after the blue square? the green triangle",
    "Where is the circle? [100,200,300,400]",
] * 8


@dataclass(frozen=True)
class Family:
    """A model with its processor, and helpers for tests."""

    name: str
    model: Any
    encoder: PromptEncoder

    @property
    def processor(self) -> Any:
        return self.encoder.processor

    @property
    def side(self) -> int:
        """Pixels along one merged patch."""
        return self.processor.image_processor.patch_size * self.encoder.merge

    def frames(self, count: int, size: tuple[int, int] = (2, 2), seed: int = 0) -> tuple[Frame, ...]:
        """Noise of `size` (width, height) in merged patches, half a second apart."""
        rng = np.random.default_rng(seed)
        shape = (size[1] * self.side, size[0] * self.side, 3)
        images = [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(count)]
        return tuple(Frame(image, time_s=number / 2, key=False) for number, image in enumerate(images))

    def pack(
        self, frames: tuple[Frame, ...], questions: Sequence[str], answers: Sequence[str] | None = None
    ) -> Pack:
        """Questions about the frames as branches, with `answers` as their targets."""
        vision = self.encoder.vision(frames)
        encoded = [self.encoder.encode(Prompt(frames, 9.5, text), vision) for text in questions]
        targets = [self.encoder.target(text) for text in answers] if answers else [()] * len(encoded)
        branches = [Branch(one.context_ids, target) for one, target in zip(encoded, targets, strict=True)]
        return Pack(encoded[0].prefix_ids, vision.grids, vision.pixel_values, branches)

    def collate(self, packs: Sequence[Pack]) -> dict[str, torch.Tensor]:
        return collate(
            packs,
            image_token=self.encoder.image_token_id,
            pad_token=self.processor.tokenizer.pad_token_id,
            merge=self.encoder.merge,
        )

    def logits(self, packs: Sequence[Pack]) -> torch.Tensor:
        """[B, L, V] of one plain forward pass."""
        batch = self.collate(packs)
        del batch["labels"]
        return self.model(**model_inputs(self.model, batch)).logits

    def decode(
        self, packs: Sequence[Pack], sampling: Sampling, end_tokens: Sequence[int] | None = None
    ) -> list[list[Generation]]:
        return decode(
            self.model,
            packs,
            sampling,
            image_token=self.encoder.image_token_id,
            pad_token=self.processor.tokenizer.pad_token_id,
            end_tokens=self.encoder.end_ids if end_tokens is None else end_tokens,
            merge=self.encoder.merge,
            generator=torch.Generator().manual_seed(sampling.seed),
        )

    @contextmanager
    def vision_attention(self, implementation: str) -> Iterator[None]:
        """Run the vision tower with another attention implementation inside the context."""
        config = self.model.model.visual.config
        before, config._attn_implementation = config._attn_implementation, implementation
        try:
            yield
        finally:
            config._attn_implementation = before


def qwen3_vl() -> Family:
    """The shapes world's model, with fewer layers."""
    processor = tiny.processor(tiny.tokenizer(CORPUS))
    config = tiny.config(processor.tokenizer)
    config.text_config.num_hidden_layers = 2
    config.vision_config.depth = 3
    return _family("qwen3_vl", Qwen3VLForConditionalGeneration(config), processor)


def qwen2_5_vl() -> Family:
    """Patches of 14 pixels and, as in the large one, layers that attend within windows of a frame."""
    text = tiny.tokenizer(CORPUS)
    size = {"shortest_edge": 28 * 28, "longest_edge": 128 * 28 * 28}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, patch_size=14, merge_size=2),
        video_processor=Qwen2VLVideoProcessor(size=size, patch_size=14, merge_size=2),
        tokenizer=text,
        chat_template="<|im_start|>system\nAnswer the user.<|im_end|>\n" + tiny.CHAT_TEMPLATE,
    )
    token = text.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": (len(text) + 63) // 64 * 64,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 6, 6],
            },
            "initializer_range": 0.2,
            "pad_token_id": text.pad_token_id,
            "eos_token_id": text.eos_token_id,
            "bos_token_id": None,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "out_hidden_size": 64,
            "initializer_range": 0.2,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    return _family("qwen2_5_vl", Qwen2_5_VLForConditionalGeneration(config), processor)


def _family(name: str, model: Any, processor: Any) -> Family:
    """Random biases too: `from_config` leaves them at zero, where a missing one would not be noticed."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.set_attn_implementation("sdpa")
    attend_framewise(model)
    processor.tokenizer.padding_side = "left"
    return Family(name, model.eval(), PromptEncoder(processor))
