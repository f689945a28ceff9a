"""Evaluate checkpoints on harder clips: twice as long, with twice as many shapes.

    python -m bench.harder                    # the checkpoints of `make repro`, 320 held-out records

The checkpoints in data/models of this checkout answer about clips of the shapes world like none they were
trained on, at as many frames a second as in training (twice as many frames). Printed are the levels, and the
paired differences with 95 % bootstrap intervals, in percent. What was made stays in the folder; `--folder`
names another.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.ablation import AXES, ROOT, begin, cell, header, line, link, parameters, read, stage
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS
from openo3.report.comparison import PAIRS
from openo3.report.inputs import MEANT

FOLDER = Path(".cache/openo3/harder")


def changes(scale: int) -> dict[str, Any]:
    """Parameters by dotted name: `scale` times the length, shapes and frames of clips."""
    decodings = {bench: sorted(set(MEANT.values())) for bench in AXES}
    harder: dict[str, Any] = {"download.shapes.benchmark_scale": scale, "evaluate.decodings": decodings}
    # One training clip and picture, because the stages need some; only benchmark clips are used
    harder |= {"download.shapes.videos": 1, "download.shapes.images": 2}
    return harder | {f"sample_frames.{bench}.max_frames": 8 * scale for bench in AXES}


def results(folder: Path, model: str, benchmark: str) -> list[dict[str, Any]]:
    return read(folder / f"data/predictions/{model}/{benchmark}/{MEANT[model]}.results.json")


def tables(folder: Path) -> str:
    heads = [label for axes in AXES.values() for label in axes.values()]
    levels, gains = [header("", heads)], [header("difference", heads)]
    for model, name in CHECKPOINTS.items():
        metrics = read(folder / f"metrics/evaluate/{model}.json")
        own = {bench: metrics[bench][MEANT[model]] for bench in AXES}
        levels.append(line(name, [f"{100 * own[b][key]:.1f}" for b, axes in AXES.items() for key in axes]))
    for later, earlier in PAIRS:
        found = {
            bench: BENCHMARKS[bench].scoring.difference(
                results(folder, later, bench), results(folder, earlier, bench)
            )
            for bench in AXES
        }
        label = f"{CHECKPOINTS[later]} - {CHECKPOINTS[earlier]}"
        gains.append(line(label, [cell(found[b][key]) for b, axes in AXES.items() for key in axes]))
    return "\n\n".join("\n".join(lines) for lines in (levels, gains))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.harder", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--models", type=Path, default=ROOT / "data/models", help="base, sft and gspo")
    parser.add_argument("--videos", type=int, default=160, help="held-out clips, two records each")
    parser.add_argument("--scale", type=int, default=2, help="how many times as long, with as many shapes")
    settings = parser.parse_args()
    settings.steps = None
    folder = settings.folder.resolve()
    begin(folder, parameters(settings, changes(settings.scale)))
    stage(folder, "data/raw/manifest.jsonl", "stages.download")
    stage(folder, "data/validated", "stages.validate")
    stage(folder, "metrics/frames.json", "stages.sample_frames")
    for model in CHECKPOINTS:
        link(folder / "data/models" / model, settings.models.resolve() / model)
        stage(folder, f"metrics/evaluate/{model}.json", "stages.evaluate", model)
    print(tables(folder))


if __name__ == "__main__":
    main()
