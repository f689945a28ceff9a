"""Timing, and table rows that are printed as soon as they are measured."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

CUDA = torch.cuda.is_available()
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, ImportError, LookupError, AssertionError)


def say(text: str) -> None:
    print(text, flush=True)


class Clock:
    """The remaining time of this run."""

    def __init__(self, minutes: float) -> None:
        self.end = time.perf_counter() + 60 * minutes

    @property
    def left_s(self) -> float:
        return self.end - time.perf_counter()


def seconds(function: Callable[[], Any]) -> float:
    if CUDA:
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if CUDA:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def attempt(
    what: str, clock: Clock, needs_s: float, function: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Run one variant and print its row, unless a GPU's `needs_s` seconds are more than are left.

    What goes wrong is printed in the row's place, and the next variant has its turn.
    """
    if clock.left_s < needs_s:
        say(f"| {what} | left out: it takes about {needs_s:.0f} s, {clock.left_s:.0f} s are left |")
        return {}
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    start, result = time.perf_counter(), {}
    try:
        result = function()
    except FAILURES as error:
        if isinstance(error, torch.OutOfMemoryError):
            say(f"| {what} | out of memory |")
        else:
            say(f"| {what} | {type(error).__name__}: {str(error)[:300]} |")
            traceback.print_exc()
    gc.collect()
    if result and CUDA:
        result["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
    if CUDA:
        torch.cuda.empty_cache()
    if result:
        numbers = " | ".join(f"{name} {value:.4g}" for name, value in result.items())
        say(f"| {what} | {numbers} | (all of it {time.perf_counter() - start:.0f} s)")
    return result
