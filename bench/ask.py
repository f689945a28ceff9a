"""How long `openo3 ask` takes: loading the model, the first claim, the whole answer, and files about it.

    python -m bench.ask                   # after `make repro`; half a minute
    python -m bench.ask --rounds 20 --model data/models/sft

One clip is asked about again and again in one process; medians over the rounds. The first question starts the
process that decodes, and is given by itself.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

from openo3.inference.model import Model, load

CLIP = "data/raw/media/videos/vstar/000000.mp4"
T = TypeVar("T")
QUESTION = "Find the shape that comes into view first, then the shape that hides it. What is it?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="data/models/gspo")
    parser.add_argument("--clip", default=CLIP)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    load_s, model = timed(lambda: load(arguments.model))
    print(f"loading the model: {load_s:.1f} s")
    print("first question: {:.2f} s to the first claim, {:.2f} s in all".format(*ask(model, arguments.clip)))
    rounds = [ask(model, arguments.clip) for _ in range(arguments.rounds)]
    first, whole = (median(times) for times in zip(*rounds, strict=True))
    print(f"further questions: {first:.2f} s to the first claim, {whole:.2f} s in all")
    answer = model.ask(arguments.clip, QUESTION)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("answer.html", "answer.gif", "answer.mp4"):
            seconds, file = timed(lambda name=name: answer.save(Path(folder, name)))
            print(f"{name}: {seconds:.1f} s, {file.stat().st_size / 1e3:.0f} kB")


def ask(model: Model, clip: str) -> tuple[float, float]:
    """Seconds until the first claim is whole, and until the answer is."""
    claimed_s: list[float] = []
    begun = time.perf_counter()

    def watch(text: str) -> None:
        if "</t>s" in text and not claimed_s:
            claimed_s.append(time.perf_counter() - begun)

    model.ask(clip, QUESTION, watch=watch)
    whole_s = time.perf_counter() - begun
    return (claimed_s or [whole_s])[0], whole_s


def timed(call: Callable[[], T]) -> tuple[float, T]:
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


if __name__ == "__main__":
    main()
