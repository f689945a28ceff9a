"""Pretrain the tiny base model on plain questions about the shapes world.

    python -m openo3.shapes.pretrain --out data/tiny-qwen3-vl --minutes 8

Scenes are drawn by worker processes and rendered on the GPU; each clip carries several questions as
branches over its frames. The questions are plain (what, when, where, answered at once); targets hold no
evidence grammar, so that supervised fine-tuning has something to teach. At the end the script decodes
held-out questions and writes the numbers beside the weights (`pretraining.json`).
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import Qwen3VLForConditionalGeneration

from openo3 import prompts
from openo3.model.attention import attend_framewise
from openo3.model.decoding import Sampling, decode
from openo3.model.load import load_model, load_processor
from openo3.model.packing import Branch, Pack, collate, model_inputs
from openo3.shapes import tiny
from openo3.shapes.questions import plain_image, plain_questions
from openo3.shapes.render import render, scene_tensors
from openo3.shapes.scene import SIZES, Scene, sample_scene

RECORD = "pretraining.json"
STILLS = 0.12
"""Share of batches that are still images (visual QA) instead of clips."""


def model_size(size: tuple[int, int]) -> tuple[int, int]:
    """`(width, height)` at which a source of `size` reaches the model, as the processor resizes it."""
    side = tiny.PATCH * tiny.MERGE
    scale = math.sqrt(size[0] * size[1] / tiny.MAX_PIXELS)
    width, height = (max(side, round(length / side) * side) for length in size)
    if width * height > tiny.MAX_PIXELS:
        width, height = (max(side, math.floor(length / scale / side) * side) for length in size)
    return width, height


def frame_times(scene: Scene, count: int, rng: np.random.Generator) -> np.ndarray:
    """Presentation times of `count` evenly spread frames and up to two more, on the source's grid."""
    even = (np.arange(count) + rng.uniform(0, 1)) / count * scene.duration_s
    extra = rng.uniform(0, scene.duration_s, size=2)[: max(0, 10 - count)]
    times = np.sort(np.concatenate([even, extra]))
    return np.floor(times * scene.fps) / scene.fps


def patches(frames: torch.Tensor) -> torch.Tensor:
    """[N, H, W, 3] in 0-1 -> [N * patches, features], as Qwen's image processor lays them out."""
    count, height, width, channels = frames.shape
    p, m = tiny.PATCH, tiny.MERGE
    grid = ((frames - 0.5) / 0.5).permute(0, 3, 1, 2)[:, None].expand(-1, 2, -1, -1, -1)
    grid = grid.reshape(count, 1, 2, channels, height // p // m, m, p, width // p // m, m, p)
    grid = grid.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9)
    return grid.reshape(count * (height // p) * (width // p), channels * 2 * p * p)


def corpus(seed: int, scenes: int = 4000) -> Iterator[str]:
    """Text for the tokenizer: prompts and answers."""
    rng = np.random.default_rng(seed)
    for _ in range(scenes):
        scene = sample_scene(rng)
        for question, answer in plain_questions(scene, 4, rng):
            yield f"Frame 1 at 2.0s: \nThe video lasts 9.5 seconds.\n{question}"
            yield answer
    for _ in range(scenes // 8):  # words of the grounded tasks, so that each is a token or two
        yield (
            "user assistant system Which way does it move? to the right left up down hidden comes leaves "
            "is in view"
        )
        yield (
            "The shape is at From to Correct Option: A. B. C. D. first last next before after it stays "
            "one two three"
        )


_SPECIAL_TOKEN = re.compile(r"(<\|\w+\|>)")


@lru_cache(maxsize=200_000)
def _piece_ids(tokenizer: Any, piece: str) -> tuple[int, ...]:
    return tuple(tokenizer.backend_tokenizer.encode(piece, add_special_tokens=False).ids)


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """`tokenizer(text).input_ids`, its pieces between special tokens remembered: prompts repeat them."""
    return [i for piece in _SPECIAL_TOKEN.split(text) if piece for i in _piece_ids(tokenizer, piece)]


ROW_TOKENS = 704
"""Where a clip's row ends: questions that do not fit are left out, so that little of a batch is padding."""


@dataclass(frozen=True)
class Clips(IterableDataset):
    """Endless batches: tokenised packs without pixels, and what is needed to render them."""

    processor: Any
    seed: int
    batch: int
    branches: int
    keep_packs: bool = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        torch.set_num_threads(1)
        while True:
            yield self.draw(rng)

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        still = rng.random() < STILLS
        size = model_size(SIZES[rng.integers(len(SIZES))])
        alike = [source for source in SIZES if model_size(source) == size]
        count = 1 if still else int(rng.choice([4, 6, 8, 8, 8]))
        scenes, times, packs, answers = [], [], [], []
        while len(scenes) < self.batch:
            scene = sample_scene(rng, alike[rng.integers(len(alike))])
            if still:
                at = np.array([round(float(rng.uniform(0, scene.duration_s)), 2)])
                asked = [plain_image(scene, at[0], rng) for _ in range(2)]
                if asked[0] is None:
                    continue
            else:
                at = frame_times(scene, count, rng)
                asked = plain_questions(scene, self.branches, rng)
            pack = self.pack(None if still else scene.duration_s, at, size, asked)
            scenes.append(scene)
            times.append(at)
            packs.append(pack)
            answers.append([answer for _, answer in asked])
        return {
            "packs": packs if self.keep_packs else None,
            "answers": answers,
            "tensors": scene_tensors(scenes),
            "times": torch.tensor(np.stack(times), dtype=torch.float32),
            "size": size,
            "sources": torch.tensor([scene.size for scene in scenes], dtype=torch.float32),
            "inputs": collate_tiny(packs, self.processor),
        }

    def pack(
        self, duration_s: float | None, times: np.ndarray, size: tuple[int, int],
        asked: Sequence[tuple[str, str]],
    ) -> Pack:
        grid = np.array([[1, size[1] // tiny.PATCH, size[0] // tiny.PATCH]] * len(times))
        patch = self.processor.image_token * int(grid[0].prod() // tiny.MERGE**2)
        text = self.processor.apply_chat_template(
            prompts.conversation(times, duration_s, "\0"), tokenize=False, add_generation_prompt=True
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


def collate_tiny(packs: Sequence[Pack], processor: Any) -> dict[str, torch.Tensor]:
    return collate(
        packs,
        image_token=processor.image_token_id,
        pad_token=processor.tokenizer.pad_token_id,
        merge=tiny.MERGE,
    )


def pixel_values(batch: dict[str, Any], device: str, noise: float) -> torch.Tensor:
    """Render a batch on the device; `noise` stands for what compression and resizing do to a frame."""
    tensors = {name: tensor.to(device) for name, tensor in batch["tensors"].items()}
    times, sources = batch["times"].to(device), batch["sources"].to(device)
    frames = render(tensors, times, batch["size"], sources).flatten(0, 1)
    if noise:
        soft = torch.nn.functional.avg_pool2d(frames.permute(0, 3, 1, 2), 3, 1, 1).permute(0, 2, 3, 1)
        blend = torch.rand(len(frames), 1, 1, 1, device=device)
        frames = frames.lerp(soft, blend) + noise * torch.randn_like(frames)
    return patches(frames.clamp(0, 1))


def answer_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of the answers' tokens, each weighted by one over the root of its answer's length.

    Unweighted, the long lists of boxes would be nearly all of the loss.
    """
    labels, segments = batch.pop("labels")[:, 1:], batch["segments"]
    answered = labels >= 0
    rows, columns = answered.nonzero(as_tuple=True)
    branch = rows * (int(segments.max()) + 1) + segments[rows, columns + 1]
    weights = torch.bincount(branch)[branch].float().rsqrt().to(model.device)
    wanted, places = labels[answered].to(model.device), (rows * segments.shape[1] + columns).to(model.device)
    hidden = model.model(**model_inputs(model, batch)).last_hidden_state
    # By index, not by mask: a mask would make the host wait for the device at every step
    logits = model.lm_head(hidden.flatten(0, 1).index_select(0, places))
    losses = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    return (losses * weights).sum() / weights.sum()


def pretrain(
    model: Any, processor: Any, minutes: float, *, seed: int = 0, batch: int = 256, branches: int = 6,
    peak: float = 2e-3, workers: int = 14, device: str = "cuda",
) -> dict[str, Any]:  # fmt: skip
    """Train for a given time (the learning rate follows the clock), return what happened."""
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every length, which takes seconds
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), fused=device == "cuda")
    clips = Clips(processor, seed, batch, branches)
    ahead = 4 if workers else None
    loader = iter(DataLoader(clips, batch_size=None, num_workers=workers, prefetch_factor=ahead))
    start, step, last, history = time.monotonic(), 0, torch.tensor(math.nan), []
    while (elapsed := (time.monotonic() - start) / 60) < minutes:
        part = elapsed / minutes
        rate = peak * min(1.0, (step + 1) / 300) * (0.02 + 0.98 * (1 + math.cos(math.pi * part)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        drawn = next(loader)
        drawn["inputs"]["pixel_values"] = pixel_values(drawn, device, 0.02)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = answer_loss(model, drawn["inputs"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        last = loss.detach() if drawn["times"].shape[1] > 1 else last  # read below: reading waits
        if step % 200 == 0:
            history.append({"step": step, "minutes": round(elapsed, 2), "loss": round(last.item(), 4)})
            print(json.dumps(history[-1]), flush=True)
    settings = {"seed": seed, "peak": peak, "minutes": minutes}
    return {**settings, "steps": step, "clips": step * batch, "history": history}


def examine(
    model: Any, processor: Any, *, seed: int = 10_000, batches: int = 4, device: str = "cuda"
) -> dict[str, float]:
    """Mean `closeness` of greedy answers to held-out plain questions, by the question's first two words."""
    clips = Clips(processor, seed, 32, 6, keep_packs=True)
    rng = np.random.default_rng(seed)
    right: dict[str, list[float]] = {}
    for _ in range(batches):
        drawn = clips.draw(rng)
        values = pixel_values(drawn, device, 0.0)
        per_pack = len(values) // len(drawn["packs"])
        packs = [
            Pack(p.prefix_ids, p.grids, values[i * per_pack : (i + 1) * per_pack],
                 [Branch(branch.context_ids, ()) for branch in p.branches])
            for i, p in enumerate(drawn["packs"])
        ]  # fmt: skip
        written = decode(
            model, packs, Sampling(max_new_tokens=200), image_token=processor.image_token_id,
            pad_token=processor.tokenizer.pad_token_id, end_tokens=[processor.tokenizer.eos_token_id],
            merge=tiny.MERGE, generator=torch.Generator(device),
        )  # fmt: skip
        for pack, answers, generations in zip(drawn["packs"], drawn["answers"], written, strict=True):
            for branch, answer, generation in zip(pack.branches, answers, generations, strict=False):
                said = processor.tokenizer.decode(generation.ids, skip_special_tokens=True)
                asked = processor.tokenizer.decode(branch.context_ids).split()
                kind = " ".join(asked[:2]) + (" (json)" if said.startswith("{") else "")
                right.setdefault(kind, []).append(closeness(said, answer))
    return {kind: round(float(np.mean(values)), 3) for kind, values in sorted(right.items())} | {
        "questions": sum(map(len, right.values()))
    }


def closeness(said: str, answer: str) -> float:
    """1 for the same words; answers of numbers earn 1 minus their mean error, in units of 0.1 or 100."""
    digits = r"\d+(?:\.\d+)?"
    if not re.search(digits, answer):
        return float(said == answer)
    a, b = ([float(number) for number in re.findall(digits, text)] for text in (said, answer))
    scale = 100.0 if "[" in answer else 1.0
    return 0.0 if len(a) != len(b) else max(0.0, 1 - float(np.mean(np.abs(np.subtract(a, b)))) / scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="go on from a folder this script made")
    parser.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    before: list[dict[str, Any]] = []
    if args.start:
        processor, model = load_processor(args.start), load_model(args.start, torch.float32)
        before = json.loads((args.start / RECORD).read_text())["runs"]
    else:
        processor = tiny.processor(tiny.tokenizer(corpus(args.seed)))
        model = Qwen3VLForConditionalGeneration(tiny.config(processor.tokenizer))
        attend_framewise(model)
    run = pretrain(
        model.to(args.device), processor, args.minutes, seed=args.seed, batch=args.batch,
        workers=args.workers, peak=args.peak, device=args.device,
    )  # fmt: skip
    processor.save_pretrained(args.out)
    half = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}
    model.save_pretrained(args.out, state_dict=half)  # half the size, more mantissa than bfloat16
    record = {"runs": [*before, run], "held_out": examine(model.eval(), processor, device=args.device)}
    (args.out / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["held_out"]))


if __name__ == "__main__":
    main()
