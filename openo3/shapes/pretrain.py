"""Pretrain the tiny base model on plain questions about the shapes world.

    torchrun --nproc-per-node 4 -m openo3.shapes.pretrain --out data/tiny-qwen3-vl --minutes 6

Three phases: the vision tower learns to detect (`detection`), then the model to answer questions about still
pictures, then about clips. Scenes are drawn by worker processes and rendered on the GPU; each clip carries
several questions as branches over its frames. The questions (`plain`) take one step and their boxes and
spans are loose, so fine-tuning has something to teach: several steps, and precision. At the end the script
decodes held-out questions and writes the numbers beside the weights (`pretraining.json`).
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
from openo3.shapes.detection import DetectionHead, detection_loss, patch_truth
from openo3.shapes.lessons import Lessons, corpus, pixel_values
from openo3.shapes.plain import LOOSE

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
    minutes: float, name: str, processes: Processes, floor: float = 0.02,
) -> dict[str, Any]:  # fmt: skip
    """Train for a given time; the learning rate follows the clock, from a short rise down to `floor`."""
    start, step, history, losses = time.monotonic(), 0, [], []
    while (elapsed := processes.agree((time.monotonic() - start) / 60)) < minutes:
        fall = floor + (1 - floor) * (1 + math.cos(math.pi * elapsed / minutes)) / 2
        loss = step_loss(next(lessons))
        loss.backward()
        processes.average_gradients(optimizers.parameters)
        optimizers.step(min(1.0, (step + 1) / 100) * fall)
        step += 1
        losses.append(loss.detach())  # read below: reading waits for the device
        if step % 100 == 0:
            mean = round(torch.stack(losses).mean().item(), 4)
            losses.clear()
            history.append({"step": step, "minutes": round(elapsed, 2), "loss": mean})
            if processes.rank == 0:
                print(name, json.dumps(history[-1]), flush=True)
    return {"phase": name, "minutes": minutes, "steps": step, "history": history}


def see(model: Any, lessons: Iterator[Lesson], minutes: float, processes: Processes) -> dict[str, Any]:
    """Train the vision tower to detect."""
    visual, device = model.model.visual, processes.device
    head = DetectionHead(visual.config.out_hidden_size).to(device)
    processes.begin_alike([visual, head])

    def step_loss(lesson: Lesson) -> torch.Tensor:
        truth = patch_truth(lesson, device)
        width, height = lesson["size"]
        grid = torch.tensor([[len(lesson["times"]), height // tiny.PATCH, width // tiny.PATCH]])
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            seen = visual(pixel_values(lesson, device, NOISE), grid_thw=grid.to(device))
            told = head(seen.pooler_output)
        return detection_loss(told.float(), *truth)[0]

    return train(step_loss, Optimizers([visual, head], 0.02, 2e-3), lessons, minutes, "see", processes, 0.1)


def answer(
    model: Any, lessons: Iterator[Lesson], minutes: float, processes: Processes, name: str, muon: float,
    floor: float,
) -> dict[str, Any]:  # fmt: skip
    """Train the whole model to answer."""
    processes.begin_alike([model])

    def step_loss(lesson: Lesson) -> torch.Tensor:
        inputs = lesson["inputs"] | {"pixel_values": pixel_values(lesson, processes.device, NOISE)}
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            return answer_loss(model, inputs)

    return train(step_loss, Optimizers([model], muon, muon / 10), lessons, minutes, name, processes, floor)


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
    processes = Processes(args.device)
    torch.manual_seed(args.seed)
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every length, which takes seconds
    runs: list[dict[str, Any]] = []
    if args.resume_from:
        processor, model = load_processor(args.resume_from), load_model(args.resume_from, torch.float32)
        runs = json.loads((args.resume_from / RECORD).read_text())["runs"]
    else:
        processor = tiny.processor(tiny.tokenizer(corpus(args.seed)))
        model = Qwen3VLForConditionalGeneration(tiny.config(processor.tokenizer))
        attend_framewise(model)
        balance(model)
    model.to(processes.device)
    noise = replace(LOOSE, box_loosen=args.box_loosen, span_loosen_s=args.span_loosen)

    def lessons(batch: int, questions: int, stills: float) -> Iterator[Lesson]:
        seed = args.seed + 1000 * len(runs) + 10_000 * processes.rank
        dataset = Lessons(processor, seed, batch, questions, stills, noise)
        loader = DataLoader(
            dataset, batch_size=None, num_workers=args.workers,
            prefetch_factor=4 if args.workers else None, pin_memory=args.device == "cuda",
        )  # fmt: skip
        return replayed(iter(loader), 2, seed)

    settings = {"seed": args.seed, "batch": args.batch, "processes": processes.count, "peak": args.peak}
    settings["noise"] = asdict(noise)
    if args.see:
        runs.append(settings | see(model, lessons(2 * args.batch, 0, 1.0), args.see, processes))
    if args.stills:
        drawn = lessons(2 * args.batch, 2, 1.0)
        runs.append(settings | answer(model, drawn, args.stills, processes, "stills", args.peak, floor=0.5))
    drawn = lessons(args.batch, 6, 0.1)
    runs.append(settings | answer(model, drawn, args.minutes, processes, "clips", args.peak, floor=0.02))
    if processes.rank == 0:
        save(args.out, model, processor, {"runs": runs})


def save(folder: Path, model: Any, processor: Any, record: dict[str, Any]) -> None:
    """The model with its processor, and the record with what it answers to held-out questions."""
    processor.save_pretrained(folder)
    half = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=half)  # half the size, more mantissa than bfloat16
    held_out = examine(model.eval(), processor, device=model.device)
    (folder / RECORD).write_text(json.dumps(record | {"held_out": held_out}, indent=1) + "\n")
    print(json.dumps(held_out))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume-from", type=Path, help="go on from a folder this script made")
    parser.add_argument("--see", type=float, default=1.0, help="minutes of detection")
    parser.add_argument("--stills", type=float, default=1.5, help="minutes of still pictures")
    parser.add_argument("--minutes", type=float, default=6.0, help="minutes of clips")
    parser.add_argument("--peak", type=float, default=0.01, help="highest learning rate of Muon")
    parser.add_argument("--box-loosen", type=float, default=LOOSE.box_loosen, help="labels' mean looseness")
    parser.add_argument("--span-loosen", type=float, default=LOOSE.span_loosen_s, help="likewise, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=128, help="clips a step and process, half the stills")
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
