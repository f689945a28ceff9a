"""Pretrain the tiny base model on plain questions about the shapes world.

    python -m openo3.shapes.pretrain --out data/tiny-qwen3-vl --minutes 8

Three phases: the vision tower learns to detect (`detection`), then the model to answer questions about still
pictures, then about clips. Scenes are drawn by worker processes and rendered on the GPU; each clip carries
several questions as branches over its frames. The questions are plain (`plain`): what, when, where, and
reasons in words or marked in forms drawn at random. No target holds the evidence grammar, so supervised
fine-tuning has something to teach. At the end the script decodes held-out questions and writes the numbers
beside the weights (`pretraining.json`).
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import Qwen3VLForConditionalGeneration

from openo3.model.attention import attend_framewise
from openo3.model.decoding import Sampling, decode
from openo3.model.load import load_model, load_processor
from openo3.model.packing import Branch, Pack, model_inputs
from openo3.shapes import tiny
from openo3.shapes.detection import DetectionHead, detection_loss, patch_truth
from openo3.shapes.lessons import Lessons, corpus, pixel_values
from openo3.shapes.plain import SIGNS

RECORD = "pretraining.json"
NOISE = 0.02
Lesson = dict[str, Any]


class Optimizers:
    """Muon for the matrices, AdamW for the rest, one learning rate for each, scaled together.

    On two CPU cores, Muon brought the detection loss of 400 AdamW steps in 250.
    """

    def __init__(self, modules: list[torch.nn.Module], muon: float, adam: float) -> None:
        named = [pair for module in modules for pair in module.named_parameters()]
        matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
        chosen = {id(p) for p in matrices}
        self.parameters = [p for _, p in named]
        others = [p for p in self.parameters if id(p) not in chosen]
        self.each = (
            torch.optim.Muon(matrices, lr=muon, weight_decay=0.02, momentum=0.95),
            torch.optim.AdamW(others, lr=adam, betas=(0.9, 0.95), weight_decay=0.0),
        )
        self.peaks = (muon, adam)

    def step(self, scale: float) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer, peak in zip(self.each, self.peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def balance(model: Any) -> None:
    """Start with patches and their places equally loud.

    With one `initializer_range` for both, the places are a fiftieth of what the pixels bring, and what the
    first layers see of them takes hundreds of steps to grow.
    """
    visual = model.model.visual
    torch.nn.init.normal_(visual.pos_embed.weight, std=0.5)
    torch.nn.init.normal_(visual.patch_embed.proj.weight, std=0.012)


def replayed(fresh: Iterator[Lesson], times: int, seed: int, most: int = 64) -> Iterator[Lesson]:
    """Each fresh lesson, followed by `times - 1` earlier ones: drawing is slower than learning.

    (Data echoing, arXiv 1907.05550.) The noise is drawn anew, so no two looks are the same.
    """
    rng = np.random.default_rng(seed)
    kept: list[Lesson] = []
    for lesson in fresh:
        yield lesson
        if len(kept) < most:
            kept.append(lesson)
        else:
            for _ in range(times - 1):
                yield kept[rng.integers(most)]
            kept[rng.integers(most)] = lesson


def train(
    step_loss: Callable[[Lesson], torch.Tensor], optimizers: Optimizers, lessons: Iterator[Lesson],
    minutes: float, name: str, floor: float = 0.02,
) -> dict[str, Any]:  # fmt: skip
    """Train for a given time; the learning rate follows the clock, from a short rise down to `floor`."""
    start, step, history, losses = time.monotonic(), 0, [], []
    while (elapsed := (time.monotonic() - start) / 60) < minutes:
        fall = floor + (1 - floor) * (1 + math.cos(math.pi * elapsed / minutes)) / 2
        loss = step_loss(next(lessons))
        loss.backward()
        optimizers.step(min(1.0, (step + 1) / 100) * fall)
        step += 1
        losses.append(loss.detach())  # read below: reading waits for the device
        if step % 100 == 0:
            mean = round(torch.stack(losses).mean().item(), 4)
            losses.clear()
            history.append({"step": step, "minutes": round(elapsed, 2), "loss": mean})
            print(name, json.dumps(history[-1]), flush=True)
    return {"phase": name, "minutes": minutes, "steps": step, "history": history}


def see(model: Any, lessons: Iterator[Lesson], minutes: float, device: str) -> dict[str, Any]:
    """Train the vision tower to detect."""
    visual = model.model.visual
    head = DetectionHead(visual.config.out_hidden_size).to(device)

    def step_loss(lesson: Lesson) -> torch.Tensor:
        truth = patch_truth(lesson, device)
        width, height = lesson["size"]
        grid = torch.tensor([[len(lesson["times"]), height // tiny.PATCH, width // tiny.PATCH]])
        with torch.autocast(device, dtype=torch.bfloat16):
            seen = visual(pixel_values(lesson, device, NOISE), grid_thw=grid.to(device))
            told = head(seen.pooler_output)
        return detection_loss(told.float(), *truth)[0]

    return train(step_loss, Optimizers([visual, head], 0.02, 2e-3), lessons, minutes, "see", floor=0.1)


def answer(
    model: Any, lessons: Iterator[Lesson], minutes: float, device: str, name: str, muon: float, floor: float
) -> dict[str, Any]:
    """Train the whole model to answer."""

    def step_loss(lesson: Lesson) -> torch.Tensor:
        inputs = lesson["inputs"] | {"pixel_values": pixel_values(lesson, device, NOISE)}
        with torch.autocast(device, dtype=torch.bfloat16):
            return answer_loss(model, inputs)

    return train(step_loss, Optimizers([model], muon, muon / 10), lessons, minutes, name, floor)


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


def place_tags(model: Any, tokenizer: Any) -> None:
    """Give the grammar's tags, which no lesson shows, embeddings as if drawn with those of the signs.

    New tokens usually start as the mean of old ones. The signs are those that mark what a question wants
    marked, so the model takes the tags for marks too, though it cannot tell one from another yet.
    """
    vectors = model.get_input_embeddings().weight.data
    signs = vectors[[tokenizer.convert_tokens_to_ids(mark) for mark in sorted(set(sum(SIGNS, ())))]]
    mean = signs.mean(0)
    drawn = torch.randn(len(tiny.GRAMMAR), len(signs), generator=torch.Generator().manual_seed(0))
    mixed = mean + drawn.to(signs) @ (signs - mean) / len(signs) ** 0.5
    vectors[tokenizer.convert_tokens_to_ids(list(tiny.GRAMMAR))] = mixed


def examine(
    model: Any, processor: Any, *, seed: int = 10_000, batches: int = 4, device: str
) -> dict[str, float]:
    """Mean `closeness` of greedy answers to held-out plain questions, by the question's first two words."""
    lessons = Lessons(processor, seed, 32, 6, keep=True)
    rng = np.random.default_rng(seed)
    right: dict[str, list[float]] = {}
    for _ in range(batches):
        drawn = lessons.draw(rng)
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
                kind = " ".join(asked[: 1 if asked[0] == "Repeat:" else 2])
                kind += " (json)" if said.startswith("{") else ""
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
    args = arguments()
    device, workers = args.device, args.workers
    torch.manual_seed(args.seed)
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every length, which takes seconds
    runs: list[dict[str, Any]] = []
    if args.start:
        processor, model = load_processor(args.start), load_model(args.start, torch.float32)
        runs = json.loads((args.start / RECORD).read_text())["runs"]
    else:
        processor = tiny.processor(tiny.tokenizer(corpus(args.seed)))
        model = Qwen3VLForConditionalGeneration(tiny.config(processor.tokenizer))
        attend_framewise(model)
        balance(model)
    model.to(device)

    def lessons(batch: int, questions: int, stills: float) -> Iterator[Lesson]:
        dataset = Lessons(processor, args.seed + len(runs), batch, questions, stills)
        ahead = 4 if workers else None
        loader = DataLoader(
            dataset, batch_size=None, num_workers=workers, prefetch_factor=ahead, pin_memory=device == "cuda"
        )
        return replayed(iter(loader), 2, args.seed)

    if args.see:
        runs.append(see(model, lessons(2 * args.batch, 0, 1.0), args.see, device))
    if args.stills:
        drawn = lessons(2 * args.batch, 2, 1.0)
        runs.append(answer(model, drawn, args.stills, device, "stills", args.peak, floor=0.5))
    drawn = lessons(args.batch, 6, 0.1)
    runs.append(answer(model, drawn, args.minutes, device, "clips", args.peak, floor=0.02))
    place_tags(model, processor.tokenizer)
    processor.save_pretrained(args.out)
    half = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}
    model.save_pretrained(args.out, state_dict=half)  # half the size, more mantissa than bfloat16
    settings = {"seed": args.seed, "batch": args.batch, "peak": args.peak}
    record = {"settings": settings, "runs": runs, "held_out": examine(model.eval(), processor, device=device)}
    (args.out / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["held_out"]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="go on from a folder this script made")
    parser.add_argument("--see", type=float, default=1.0, help="minutes of detection")
    parser.add_argument("--stills", type=float, default=1.5, help="minutes of still pictures")
    parser.add_argument("--minutes", type=float, default=8.0, help="minutes of clips")
    parser.add_argument("--peak", type=float, default=0.01, help="highest learning rate of Muon")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=256, help="clips a step, and half the stills")
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
