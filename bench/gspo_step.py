"""Measure the parts of a GSPO step on this machine: rollout, log-probabilities, forward, backward.

    python -m bench.gspo_step                 # after `make repro`: its fine-tuned model, 12 steps
    python -m bench.gspo_step --necessity 4   # with the reward necessity on one group in four

The stage itself runs in a folder of its own with this checkout's parameters; its parts are timed by wrapping
them. Printed are seconds per update and shares of the whole.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from bench.ablation import ROOT, link
from openo3.training.gspo import GroundedGSPOTrainer
from stages import gspo

FOLDER = Path(".cache/openo3/gspo-step")
PARTS = {
    "rollout": (GroundedGSPOTrainer, "rollout"),
    "rewards": (GroundedGSPOTrainer, "_calculate_rewards"),
    "log-probabilities of rollouts": (GroundedGSPOTrainer, "_get_per_token_logps_and_entropies"),
    "forward": (GroundedGSPOTrainer, "_compute_loss"),
    "backward": (torch.Tensor, "backward"),
    "all": (GroundedGSPOTrainer, "training_step"),
}


@contextmanager
def timed(parts: dict[str, tuple[type, str]]) -> Iterator[dict[str, float]]:
    """Seconds by part. Calls inside another part (except `all`) are not counted."""
    seconds = dict.fromkeys(parts, 0.0)
    running: list[str] = []
    originals = {name: getattr(*place) for name, place in parts.items()}

    def wrapper(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            inner = [other for other in running if other != "all"]
            running.append(name)
            started = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                running.pop()
                if not inner:
                    seconds[name] += time.perf_counter() - started

        return call

    for name, (owner, method) in parts.items():
        setattr(owner, method, wrapper(name, originals[name]))
    try:
        yield seconds
    finally:
        for name, (owner, method) in parts.items():
            setattr(owner, method, originals[name])


def table(seconds: dict[str, float], steps: int) -> str:
    """Lines of Markdown: seconds per update, and shares."""
    whole = seconds["all"]
    rest = whole - sum(value for name, value in seconds.items() if name != "all")
    rows = {name: value for name, value in seconds.items() if name != "all"} | {
        "the rest": rest,
        "all": whole,
    }
    lines = [f"| {name} | {value / steps:.2f} | {value / whole:.0%} |" for name, value in rows.items()]
    return "\n".join(["| part | seconds per update | share |", "|---|---|---|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gspo_step", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="as `make repro` leaves it")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--necessity", type=int, metavar="EVERY", help="that reward on one group in so many")
    settings = parser.parse_args()
    params = YAML().load(ROOT / "params.yaml")
    params["gspo"]["trainer"] |= {"max_steps": settings.steps, "report_to": "none", "save_strategy": "no"}
    if settings.necessity:
        params["gspo"]["necessity"] = {"every": settings.necessity}
    params["prompts"] = str(ROOT / params["prompts"])
    settings.folder.mkdir(parents=True, exist_ok=True)
    for name in ("validated", "frames", "models/sft"):
        link(settings.folder / "data" / name, settings.data.resolve() / name)
    YAML().dump(params, settings.folder / "params.yaml")
    os.chdir(settings.folder)
    with timed(PARTS) as seconds:
        gspo.main()
    print(table(seconds, settings.steps))


if __name__ == "__main__":
    main()
