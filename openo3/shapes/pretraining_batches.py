"""Endless pretraining batches of scenes with questions: drawn on the CPU, rendered on the GPU.

    batch = PretrainingBatches(processor, seed=0, scenes=256, questions=6).draw(rng)
    pixels = pixel_values(batch, "cuda", noise=0.02)

A batch is a dict that a DataLoader worker can send. `tensors`, `times`, `size` and `sources` describe what to
render. `inputs` holds the collated packs (tokens and labels) without pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from openo3.core import prompts
from openo3.model.packing import Branch, Pack, collate
from openo3.shapes import tiny
from openo3.shapes.noise import LabelNoise
from openo3.shapes.pretraining_questions import LOOSE, PretrainingQuestions, draw_questions
from openo3.shapes.render import render, scene_tensors
from openo3.shapes.scene import SIZES, Scene, sample_scene

ROW_TOKENS = 704
"""Longest row of a clip. Questions that do not fit are left out, so that little of a batch is padding."""

_SPECIAL_TOKEN = re.compile(r"(<\|\w+\|>)")


@dataclass(frozen=True)
class PretrainingBatches(IterableDataset):
    """Batches of `scenes` scenes, each with up to `questions` questions about its frames (none if 0).

    A share `still_share` of the batches shows single pictures instead of clips. `keep_answers` adds `packs`
    and `answers` to each batch.
    """

    processor: Any
    seed: int
    scenes: int
    questions: int
    still_share: float = 0.12
    noise: LabelNoise = LOOSE
    keep_answers: bool = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        torch.set_num_threads(1)
        while True:
            yield self.draw(rng)

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        still = rng.random() < self.still_share
        size = model_size(SIZES[rng.integers(len(SIZES))])
        same_size = [source for source in SIZES if model_size(source) == size]
        count, extra = (1, 0) if still else (int(rng.choice([4, 6, 8, 8, 8])), int(rng.integers(4)))
        scenes, times, asked = [], [], []
        while len(scenes) < self.scenes:
            scene = sample_scene(rng, same_size[rng.integers(len(same_size))])
            at = still_time(scene, rng) if still else frame_times(scene, count, extra, rng)
            questions = self.ask(scene, at, still, rng)
            if questions or not self.questions:  # there is nothing to ask about an empty picture
                scenes.append(scene)
                times.append(at)
                asked.append(questions)
        batch = {
            "tensors": scene_tensors(scenes),
            "times": torch.tensor(np.stack(times), dtype=torch.float32),
            "size": size,
            "sources": torch.tensor([scene.size for scene in scenes], dtype=torch.float32),
        }
        if self.questions:
            packs = [
                self.pack(None if still else scene.duration_s, at, size, questions)
                for scene, at, questions in zip(scenes, times, asked, strict=True)
            ]
            batch["inputs"] = collate_tiny(packs, self.processor)
            if self.keep_answers:
                batch |= {"packs": packs, "answers": [[answer for _, answer in pairs] for pairs in asked]}
        return batch

    def ask(
        self, scene: Scene, at: np.ndarray, still: bool, rng: np.random.Generator
    ) -> list[tuple[str, str]]:
        """(question, answer) pairs: at most two about a still picture."""
        if still and self.questions:
            questions = PretrainingQuestions(scene, rng, self.noise)
            return [pair for _ in range(2) if (pair := questions.picture(at[0]))]
        return draw_questions(scene, self.questions, rng, self.noise)

    def pack(
        self, duration_s: float | None, times: np.ndarray, size: tuple[int, int],
        asked: Sequence[tuple[str, str]],
    ) -> Pack:  # fmt: skip
        grid = np.array([[1, size[1] // tiny.PATCH, size[0] // tiny.PATCH]] * len(times))
        patch = self.processor.image_token * int(grid[0].prod() // tiny.MERGE**2)
        text = self.processor.apply_chat_template(
            prompts.conversation(times.tolist(), duration_s, "\0"), tokenize=False, add_generation_prompt=True
        )
        head, tail = text.replace(self.processor.image_token, patch).split("\0")
        tokenizer = self.processor.tokenizer
        prefix = token_ids(tokenizer, head)
        branches = [
            Branch(
                token_ids(tokenizer, question + tail), [*token_ids(tokenizer, answer), tokenizer.eos_token_id]
            )
            for question, answer in asked
        ]
        room = ROW_TOKENS - len(prefix) - len(branches[0].context_ids) - len(branches[0].target_ids)
        fitting = branches[:1]
        for branch in branches[1:]:
            room -= len(branch.context_ids) + len(branch.target_ids)
            if room < 0:
                break
            fitting.append(branch)
        return Pack(prefix, grid, None, fitting)


def model_size(size: tuple[int, int]) -> tuple[int, int]:
    """`(width, height)` to which the processor resizes a source of `size`."""
    side = tiny.PATCH * tiny.MERGE
    scale = math.sqrt(size[0] * size[1] / tiny.MAX_PIXELS)
    width, height = (max(side, round(length / side) * side) for length in size)
    if width * height > tiny.MAX_PIXELS:
        width, height = (max(side, math.floor(length / scale / side) * side) for length in size)
    return width, height


def frame_times(scene: Scene, count: int, extra: int, rng: np.random.Generator) -> np.ndarray:
    """Presentation times of `count` evenly spaced and `extra` random frames of the source.

    Training samples likewise have key frames among the evenly spaced ones.
    """
    even = (np.arange(count) + rng.uniform(0, 1)) / count * scene.duration_s
    times = np.sort(np.concatenate([even, rng.uniform(0, scene.duration_s, size=extra)]))
    return np.floor(times * scene.fps) / scene.fps


def still_time(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    return np.array([round(float(rng.uniform(0, scene.duration_s)), 2)])


def corpus(seed: int, scenes: int = 4000) -> Iterator[str]:
    """Prompts and answers to train the tokenizer on."""
    rng = np.random.default_rng(seed)
    for _ in range(scenes):
        scene = sample_scene(rng)
        for question, answer in draw_questions(scene, 4, rng):
            yield f"Frame 1 at 2.0s: \nThe video lasts 9.5 seconds.\n{question}"
            yield answer
    for _ in range(scenes // 8):  # so that words of composed questions are one or two tokens
        yield (
            "user assistant system Which way does it move? to the right left up down hidden comes leaves "
            "is in view are in view further where it was"
        )
        yield (
            "Find the next shape to come into view after it, then the last shape to leave before it, then "
            "the shape that hides it. the shape that leaves first last of those in view at seconds "
            "What is it? When is it in view? Next comes Before it leaves It is hidden by"
        )


@lru_cache(maxsize=200_000)
def _piece_ids(tokenizer: Any, piece: str) -> tuple[int, ...]:
    return tuple(tokenizer.backend_tokenizer.encode(piece, add_special_tokens=False).ids)


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """`tokenizer(text).input_ids`. Pieces between special tokens are cached, since prompts repeat them."""
    return [i for piece in _SPECIAL_TOKEN.split(text) if piece for i in _piece_ids(tokenizer, piece)]


def collate_tiny(packs: Sequence[Pack], processor: Any) -> dict[str, torch.Tensor]:
    return collate(
        packs,
        image_token=processor.image_token_id,
        pad_token=processor.tokenizer.pad_token_id,
        merge=tiny.MERGE,
    )


def patches(frames: torch.Tensor) -> torch.Tensor:
    """[N, H, W, 3] in 0-1 -> [N * patches, features], as Qwen's image processor lays them out."""
    count, height, width, channels = frames.shape
    p, m = tiny.PATCH, tiny.MERGE
    grid = ((frames - 0.5) / 0.5).permute(0, 3, 1, 2)[:, None].expand(-1, 2, -1, -1, -1)
    grid = grid.reshape(count, 1, 2, channels, height // p // m, m, p, width // p // m, m, p)
    grid = grid.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9)
    return grid.reshape(count * (height // p) * (width // p), channels * 2 * p * p)


def pixel_values(batch: dict[str, Any], device: str, noise: float) -> torch.Tensor:
    """Render a batch on the device. Blur and `noise` imitate the effects of compression and resizing."""
    tensors = {name: tensor.to(device) for name, tensor in batch["tensors"].items()}
    times, sources = batch["times"].to(device), batch["sources"].to(device)
    frames = render(tensors, times, batch["size"], sources).flatten(0, 1)
    if noise:
        soft = torch.nn.functional.avg_pool2d(frames.permute(0, 3, 1, 2), 3, 1, 1).permute(0, 2, 3, 1)
        blend = torch.rand(len(frames), 1, 1, 1, device=device)
        frames = frames.lerp(soft, blend) + noise * torch.randn_like(frames)
    return patches(frames.clamp(0, 1))
