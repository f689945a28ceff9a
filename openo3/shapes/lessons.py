"""Endless batches of scenes with plain questions, for pretraining: drawn on the CPU, rendered on the GPU.

    lesson = Lessons(processor, seed=0, batch=256, questions=6).draw(rng)
    pixels = pixel_values(lesson, "cuda", noise=0.02)

A lesson is a dict that a DataLoader's worker can send: `tensors`, `times`, `size` and `sources` say what to
render, `inputs` are the collated packs (tokens and labels), without pixels.
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

from openo3.model.packing import Branch, Pack, collate
from openo3.shapes import tiny
from openo3.shapes.noise import LabelNoise
from openo3.shapes.plain import LOOSE, PROMPTS, Teller, plain_questions
from openo3.shapes.render import render, scene_tensors
from openo3.shapes.scene import SIZES, Scene, sample_scene

ROW_TOKENS = 704
"""Where a clip's row ends: questions that do not fit are left out, so that little of a batch is padding."""

_SPECIAL_TOKEN = re.compile(r"(<\|\w+\|>)")


@dataclass(frozen=True)
class Lessons(IterableDataset):
    """`batch` scenes a lesson, each with up to `questions` questions about its frames, none if that is 0.

    A share `stills` of the lessons are about single pictures. `keep` adds the packs and the true answers.
    """

    processor: Any
    seed: int
    batch: int
    questions: int
    stills: float = 0.12
    noise: LabelNoise = LOOSE
    keep: bool = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        torch.set_num_threads(1)
        while True:
            yield self.draw(rng)

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        still = rng.random() < self.stills
        size = model_size(SIZES[rng.integers(len(SIZES))])
        alike = [source for source in SIZES if model_size(source) == size]
        count, extra = (1, 0) if still else (int(rng.choice([4, 6, 8, 8, 8])), int(rng.integers(4)))
        scenes, times, asked = [], [], []
        while len(scenes) < self.batch:
            scene = sample_scene(rng, alike[rng.integers(len(alike))])
            at = still_time(scene, rng) if still else frame_times(scene, count, extra, rng)
            questions = self.ask(scene, at, still, rng)
            if questions or not self.questions:  # an empty picture leaves nothing to ask
                scenes.append(scene)
                times.append(at)
                asked.append(questions)
        lesson = {
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
            lesson["inputs"] = collate_tiny(packs, self.processor)
            if self.keep:
                lesson |= {"packs": packs, "answers": [[answer for _, answer in pairs] for pairs in asked]}
        return lesson

    def ask(
        self, scene: Scene, at: np.ndarray, still: bool, rng: np.random.Generator
    ) -> list[tuple[str, str]]:
        """(question, answer) pairs; a still picture has room for two."""
        if still and self.questions:
            teller = Teller(scene, rng, self.noise)
            return [pair for _ in range(2) if (pair := teller.picture(at[0]))]
        return plain_questions(scene, self.questions, rng, self.noise)

    def pack(
        self, duration_s: float | None, times: np.ndarray, size: tuple[int, int],
        asked: Sequence[tuple[str, str]],
    ) -> Pack:  # fmt: skip
        grid = np.array([[1, size[1] // tiny.PATCH, size[0] // tiny.PATCH]] * len(times))
        patch = self.processor.image_token * int(grid[0].prod() // tiny.MERGE**2)
        text = self.processor.apply_chat_template(
            PROMPTS.messages(times, duration_s, "\0"), tokenize=False, add_generation_prompt=True
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
    """`(width, height)` at which a source of `size` reaches the model, as the processor resizes it."""
    side = tiny.PATCH * tiny.MERGE
    scale = math.sqrt(size[0] * size[1] / tiny.MAX_PIXELS)
    width, height = (max(side, round(length / side) * side) for length in size)
    if width * height > tiny.MAX_PIXELS:
        width, height = (max(side, math.floor(length / scale / side) * side) for length in size)
    return width, height


def frame_times(scene: Scene, count: int, extra: int, rng: np.random.Generator) -> np.ndarray:
    """Presentation times of `count` evenly spread frames and `extra` ones, on the source's grid: training
    inserts key frames among the even ones."""
    even = (np.arange(count) + rng.uniform(0, 1)) / count * scene.duration_s
    times = np.sort(np.concatenate([even, rng.uniform(0, scene.duration_s, size=extra)]))
    return np.floor(times * scene.fps) / scene.fps


def still_time(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    return np.array([round(float(rng.uniform(0, scene.duration_s)), 2)])


def corpus(seed: int, scenes: int = 4000) -> Iterator[str]:
    """Text for the tokenizer: prompts and answers."""
    rng = np.random.default_rng(seed)
    for _ in range(scenes):
        scene = sample_scene(rng)
        for question, answer in plain_questions(scene, 4, rng):
            yield f"Frame 1 at 2.0s: \nThe video lasts 9.5 seconds.\n{question}"
            yield answer
    for _ in range(scenes // 8):  # words of the composed questions, so that each is a token or two
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
    """`tokenizer(text).input_ids`, its pieces between special tokens remembered: prompts repeat them."""
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


def pixel_values(lesson: dict[str, Any], device: str, noise: float) -> torch.Tensor:
    """Render a lesson on the device; `noise` stands for what compression and resizing do to a frame."""
    tensors = {name: tensor.to(device) for name, tensor in lesson["tensors"].items()}
    times, sources = lesson["times"].to(device), lesson["sources"].to(device)
    frames = render(tensors, times, lesson["size"], sources).flatten(0, 1)
    if noise:
        soft = torch.nn.functional.avg_pool2d(frames.permute(0, 3, 1, 2), 3, 1, 1).permute(0, 2, 3, 1)
        blend = torch.rand(len(frames), 1, 1, 1, device=device)
        frames = frames.lerp(soft, blend) + noise * torch.randn_like(frames)
    return patches(frames.clamp(0, 1))
