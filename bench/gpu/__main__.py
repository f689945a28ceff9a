"""Compare the speed of training and evaluation at full size with the published implementation, in one run.

    python -m bench.gpu                                    # 7B with random weights, needs a GPU of 80 GB
    python -m bench.gpu --what rollout update --rounds 3
    python -m bench.gpu --what rollout evaluate vllm       # beside vLLM, where it is installed
    python -m bench.gpu --model tiny                       # the same comparison on any CPU, under a minute

The published way: one prompt per step; `generate` of transformers; every completion a row with its own copy
of the frames; attention in the vision tower frame by frame; logits of the whole text; gradient checkpointing;
a reference model's pass. Results are printed as they come. A variant for which there is not enough memory is
reported as that.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from bench.gpu import rollout, update
from bench.gpu.check import check
from bench.gpu.measure import CUDA, Clock, attempt, say, seconds
from bench.gpu.models import SIZES, build

PARTS = ("check", "rollout", "update", "evaluate", "sft", "compiled", "vllm")


def peak(model: Any) -> float:
    """TFLOP/s of one large matrix product, as the upper limit of this machine."""
    side = 8192 if CUDA else 1024
    one, other = torch.randn(2, side, side, device=model.device, dtype=model.dtype).unbind(0)
    for _ in range(3):
        torch.matmul(one, other)
    return 2 * side**3 / median(seconds(lambda: one @ other) for _ in range(10)) / 1e12


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--what", nargs="+", choices=PARTS, default=PARTS[:-2])
    parser.add_argument("--model", choices=sorted(SIZES), default="7b")
    parser.add_argument("--prompts", type=int, help="how many are decoded at once")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is printed")
    parser.add_argument("--minutes", type=float, default=30, help="what would take longer is left out")
    options = parser.parse_args(arguments)
    clock, size = Clock(options.minutes), SIZES[options.model]
    size = replace(size, prompts=options.prompts or size.prompts)
    say(f"{torch.cuda.get_device_name() if CUDA else 'CPU'}, torch {torch.__version__}; {size}")
    if "check" in options.what:
        attempt("the same as under a mask, in plain steps", clock, 30, lambda: check(size))
    model = build(options.model)
    most = peak(model)
    say(f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} billion weights; one matrix product: "
        f"{most:.4g} TFLOP/s; {clock.left_s:.0f} s left")  # fmt: skip
    speeds = []
    if "rollout" in options.what:
        speeds.append(rollout.table(model, size, clock))
    if "update" in options.what:
        speeds.append(update.table(model, size, clock, options.rounds))
    if len(speeds) == 2 and all(map(all, speeds)):
        theirs, ours = (1 / sum(1 / speed for speed in side) for side in zip(*speeds, strict=True))
        times = ours / theirs
        say(f"rollout and update: {theirs:.4g} completions/s published, {ours:.4g} ours: {times:.1f} times")
    if "evaluate" in options.what:
        from bench.gpu import evaluate

        evaluate.table(model, size, clock)
    if "sft" in options.what:
        from bench.gpu import sft

        sft.table(model, size, clock, options.rounds, most)
    if "compiled" in options.what:
        update.compiled(model, size, clock, options.rounds)
        if "sft" in options.what:
            sft.compiled(model, size, clock, options.rounds, most)
    if "vllm" in options.what:
        from bench.gpu import by_vllm

        by_vllm.table(model, size, clock)


if __name__ == "__main__":
    main()
