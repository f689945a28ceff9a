"""Pretrain the tiny base model on questions about the shapes world.

    torchrun --nproc-per-node 4 -m openo3.shapes.pretrain --out data/tiny-qwen3-vl --minutes 6

There are three phases. The vision tower learns to detect shapes (`detection`), then the whole model learns to
answer questions about still pictures, then about clips. Worker processes draw the scenes, and the GPU renders
them. Each clip carries several questions as branches over its frames.

The questions (`pretraining_questions`) take one reasoning step, and their boxes and spans are loose.
Fine-tuning can therefore teach two things: several steps, and precision. At the end the script answers
held-out questions and writes the scores beside the weights (`pretraining.json`).
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
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
from openo3.shapes.data_parallel import Processes
from openo3.shapes.detection import DetectionHead, detection_loss, patch_targets
from openo3.shapes.pretraining_batches import PretrainingBatches, corpus, pixel_values
from openo3.shapes.pretraining_questions import LOOSE

RECORD = "pretraining.json"
NOISE = 0.02
Batch = dict[str, Any]


class Optimizers:
    """Muon for the matrices and AdamW for the rest, each with its own learning rate on one schedule.

    On two CPU cores, Muon reached the detection loss of 400 AdamW steps after 250 steps.
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


def balance_embeddings(model: Any) -> None:
    """Initialise patch and position embeddings at the same scale.

    With one `initializer_range` for both, position embeddings are 50 times smaller than patch embeddings, and
    they take hundreds of steps to grow.
    """
    visual = model.model.visual
    torch.nn.init.normal_(visual.pos_embed.weight, std=0.5)
    torch.nn.init.normal_(visual.patch_embed.proj.weight, std=0.012)


def echoed(fresh: Iterator[Batch], times: int, seed: int, buffer: int = 64) -> Iterator[Batch]:
    """Each fresh batch, followed by `times - 1` earlier ones, since drawing is slower than training.

    This is data echoing (arXiv 1907.05550). The pixel noise is drawn anew each time.
    """
    rng = np.random.default_rng(seed)
    kept: list[Batch] = []
    for batch in fresh:
        yield batch
        if len(kept) < buffer:
            kept.append(batch)
        else:
            for _ in range(times - 1):
                yield kept[rng.integers(buffer)]
            kept[rng.integers(buffer)] = batch


def train(
    step_loss: Callable[[Batch], torch.Tensor], optimizers: Optimizers, batches: Iterator[Batch],
    minutes: float, name: str, processes: Processes, floor: float = 0.02,
) -> dict[str, Any]:  # fmt: skip
    """Train for `minutes`. The learning rate warms up for 100 steps, then falls to `floor` by wall time."""
    start, step, history, losses = time.monotonic(), 0, [], []
    while (elapsed := processes.broadcast((time.monotonic() - start) / 60)) < minutes:
        decay = floor + (1 - floor) * (1 + math.cos(math.pi * elapsed / minutes)) / 2
        loss = step_loss(next(batches))
        loss.backward()
        processes.average_gradients(optimizers.parameters)
        optimizers.step(min(1.0, (step + 1) / 100) * decay)
        step += 1
        losses.append(loss.detach())  # read every 100 steps, since reading waits for the device
        if step % 100 == 0:
            mean = round(torch.stack(losses).mean().item(), 4)
            losses.clear()
            history.append({"step": step, "minutes": round(elapsed, 2), "loss": mean})
            if processes.rank == 0:
                print(name, json.dumps(history[-1]), flush=True)
    return {"phase": name, "minutes": minutes, "steps": step, "history": history}


def train_detection(
    model: Any, batches: Iterator[Batch], minutes: float, processes: Processes
) -> dict[str, Any]:
    """Train the vision tower, with a temporary head, to detect shapes."""
    visual, device = model.model.visual, processes.device
    head = DetectionHead(visual.config.out_hidden_size).to(device)
    processes.broadcast_parameters([visual, head])

    def step_loss(batch: Batch) -> torch.Tensor:
        targets = patch_targets(batch, device)
        width, height = batch["size"]
        grid = torch.tensor([[len(batch["times"]), height // tiny.PATCH, width // tiny.PATCH]])
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            features = visual(pixel_values(batch, device, NOISE), grid_thw=grid.to(device))
            predicted = head(features.pooler_output)
        return detection_loss(predicted.float(), *targets)[0]

    return train(
        step_loss, Optimizers([visual, head], 0.02, 2e-3), batches, minutes, "detection", processes, 0.1
    )


def train_answers(
    model: Any, batches: Iterator[Batch], minutes: float, processes: Processes, name: str, muon: float,
    floor: float,
) -> dict[str, Any]:  # fmt: skip
    """Train the whole model to answer."""
    processes.broadcast_parameters([model])

    def step_loss(batch: Batch) -> torch.Tensor:
        inputs = batch["inputs"] | {"pixel_values": pixel_values(batch, processes.device, NOISE)}
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            return answer_loss(model, inputs)

    return train(step_loss, Optimizers([model], muon, muon / 10), batches, minutes, name, processes, floor)


def answer_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of the answer tokens, each weighted by one over the square root of its answer's length.

    Without weights, long lists of boxes would dominate the loss.
    """
    labels, segments = batch.pop("labels")[:, 1:], batch["segments"]
    answered = labels >= 0
    rows, columns = answered.nonzero(as_tuple=True)
    branch = rows * (int(segments.max()) + 1) + segments[rows, columns + 1]
    weights = torch.bincount(branch)[branch].float().rsqrt().to(model.device)
    targets = labels[answered].to(model.device)
    positions = (rows * segments.shape[1] + columns).to(model.device)
    hidden = model.model(**model_inputs(model, batch)).last_hidden_state
    # Selected by index, since a mask would make the host wait for the device at every step
    logits = model.lm_head(hidden.flatten(0, 1).index_select(0, positions))
    losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    return (losses * weights).sum() / weights.sum()


def score_held_out(
    model: Any, processor: Any, *, seed: int = 10_000, batches: int = 4, device: str
) -> dict[str, float]:
    """Mean `closeness` of greedy answers to held-out questions, grouped by the question's first two words."""
    held_out = PretrainingBatches(processor, seed, 32, 6, keep_answers=True)
    rng = np.random.default_rng(seed)
    scores: dict[str, list[float]] = {}
    for _ in range(batches):
        drawn = held_out.draw(rng)
        values = pixel_values(drawn, device, 0.0)
        per_pack = len(values) // len(drawn["packs"])
        packs = [
            Pack(p.prefix_ids, p.grids, values[i * per_pack : (i + 1) * per_pack],
                 [Branch(branch.context_ids, ()) for branch in p.branches])
            for i, p in enumerate(drawn["packs"])
        ]  # fmt: skip
        generated = decode(
            model, packs, Sampling(max_new_tokens=200), image_token=processor.image_token_id,
            pad_token=processor.tokenizer.pad_token_id, end_tokens=[processor.tokenizer.eos_token_id],
            merge=tiny.MERGE, generator=torch.Generator(device),
        )  # fmt: skip
        for pack, answers, generations in zip(drawn["packs"], drawn["answers"], generated, strict=True):
            for branch, answer, generation in zip(pack.branches, answers, generations, strict=False):
                said = processor.tokenizer.decode(generation.ids, skip_special_tokens=True)
                asked = processor.tokenizer.decode(branch.context_ids).split()
                kind = " ".join(asked[: 1 if asked[0] == "Repeat:" else 2])
                kind += " (json)" if said.startswith("{") else ""
                scores.setdefault(kind, []).append(closeness(said, answer))
    return {kind: round(float(np.mean(values)), 3) for kind, values in sorted(scores.items())} | {
        "questions": sum(map(len, scores.values()))
    }


def closeness(said: str, answer: str) -> float:
    """Score `said` against the true `answer`, in 0-1.

    An answer without numbers scores 1 if it is equal and 0 otherwise. An answer with numbers scores 1 minus
    their mean absolute error, in seconds, or in hundreds of box units if it holds a box.
    """
    digits = r"\d+(?:\.\d+)?"
    if not re.search(digits, answer):
        return float(said == answer)
    a, b = ([float(number) for number in re.findall(digits, text)] for text in (said, answer))
    scale = 100.0 if "[" in answer else 1.0
    return 0.0 if len(a) != len(b) else max(0.0, 1 - float(np.mean(np.abs(np.subtract(a, b)))) / scale)


def main() -> None:
    args = arguments()
    processes = Processes(args.device)
    torch.manual_seed(args.seed)
    torch.backends.cuda.enable_cudnn_sdp(False)  # cuDNN plans anew for each length, which takes seconds
    runs: list[dict[str, Any]] = []
    if args.resume_from:
        processor, model = load_processor(args.resume_from), load_model(args.resume_from, torch.float32)
        runs = json.loads((args.resume_from / RECORD).read_text())["runs"]
    else:
        processor = tiny.processor(tiny.tokenizer(corpus(args.seed)))
        model: Any = Qwen3VLForConditionalGeneration(tiny.config(processor.tokenizer))
        attend_framewise(model)
        balance_embeddings(model)
    model.to(processes.device)
    noise = replace(LOOSE, box_loosen=args.box_loosen, span_loosen_s=args.span_loosen)

    def batches(scenes: int, questions: int, still_share: float) -> Iterator[Batch]:
        seed = args.seed + 1000 * len(runs) + 10_000 * processes.rank
        dataset = PretrainingBatches(processor, seed, scenes, questions, still_share, noise)
        loader = DataLoader(
            dataset, batch_size=None, num_workers=args.workers,
            prefetch_factor=4 if args.workers else None, pin_memory=args.device == "cuda",
        )  # fmt: skip
        return echoed(iter(loader), 2, seed)

    settings = {"seed": args.seed, "batch": args.batch, "processes": processes.count, "peak": args.peak}
    settings["noise"] = asdict(noise)
    if args.detection:
        runs.append(
            settings | train_detection(model, batches(2 * args.batch, 0, 1.0), args.detection, processes)
        )
    if args.stills:
        drawn = batches(2 * args.batch, 2, 1.0)
        runs.append(
            settings | train_answers(model, drawn, args.stills, processes, "stills", args.peak, floor=0.5)
        )
    drawn = batches(args.batch, 6, 0.1)
    runs.append(
        settings | train_answers(model, drawn, args.minutes, processes, "clips", args.peak, floor=0.02)
    )
    if processes.rank == 0:
        save(args.out, model, processor, {"runs": runs})


def save(folder: Path, model: Any, processor: Any, record: dict[str, Any]) -> None:
    """Save the model, its processor, and `record` with the scores on held-out questions."""
    processor.save_pretrained(folder)
    half = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=half)  # half the size, more mantissa than bfloat16
    held_out = score_held_out(model.eval(), processor, device=model.device)
    (folder / RECORD).write_text(json.dumps(record | {"held_out": held_out}, indent=1) + "\n")
    print(json.dumps(held_out))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume-from", type=Path, help="continue from a folder that this script wrote")
    parser.add_argument("--detection", type=float, default=1.0, help="minutes of detection")
    parser.add_argument("--stills", type=float, default=1.5, help="minutes of still pictures")
    parser.add_argument("--minutes", type=float, default=6.0, help="minutes of clips")
    parser.add_argument("--peak", type=float, default=0.01, help="highest learning rate of Muon")
    parser.add_argument("--box-loosen", type=float, default=LOOSE.box_loosen, help="labels' mean looseness")
    parser.add_argument("--span-loosen", type=float, default=LOOSE.span_loosen_s, help="likewise, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--batch", type=int, default=128, help="clips per step and process (twice as many stills)"
    )
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
