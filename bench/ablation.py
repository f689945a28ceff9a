"""What fine-tuning and reinforcement learning bring on the default profile, over several seeds.

    python -m bench.ablation                       # 640 held-out records, three seeds: an hour on two cores
    python -m bench.ablation --videos 8 --seeds 0 --steps 2     # does it run? some minutes

The stages themselves, as `dvc repro` calls them, in a folder of their own; GSPO starts from the same
fine-tuned model with each seed. Killed, it goes on from the last stage that ended. Intervals are 95 %
bootstrap intervals over the records, of a difference over the same records for both models.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from openo3.report.scores import SCORINGS

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ("acc", "tIoU_1", "vIoU_1", "tIoU_2", "vIoU_2", "mAM", "mLGM")


def stage(folder: Path, made: str, *names: str) -> None:
    """Run a stage in `folder`, unless what it makes is there."""
    if (folder / made).exists():
        return
    print("-", *names, flush=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", *names], cwd=folder, env=environment, check=True)


def keep_to(folder: Path) -> None:
    """Other parameters than those that the folder was begun with would give a table of both."""
    asked, begun = folder / "params.yaml", folder / "begun.yaml"
    if not begun.exists():
        begun.write_bytes(asked.read_bytes())
    if begun.read_bytes() != asked.read_bytes():
        sys.exit(f"{folder}: begun with other parameters ({begun.name}); remove it or name another --folder")


def set_params(folder: Path, **changes: Any) -> None:
    """The default profile with other values, by dotted name with `__` for the dot."""
    yaml = YAML()
    params = yaml.load(ROOT / "profiles" / "shapes.yaml")
    for name, value in changes.items():
        *above, last = name.split("__")
        block = params
        for key in above:
            block = block[key]
        block[last] = value
    yaml.dump(params, folder / "params.yaml")


def run(folder: Path, videos: int, seeds: Sequence[int], decodings: Sequence[str], steps: int | None) -> None:
    """All stages, GSPO and its evaluation once for each seed, as model `gspo-SEED`."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    shipped = folder / "data" / "tiny-qwen3-vl"
    if not shipped.exists():
        shipped.symlink_to(ROOT / "data" / "tiny-qwen3-vl")
    changes: dict[str, Any] = {
        "download__shapes__benchmark_videos": videos,
        "evaluate__decodings": {"vstar": list(decodings)},
    }
    if steps:
        changes |= {"sft__trainer__max_steps": steps, "gspo__trainer__max_steps": steps}
    set_params(folder, **changes)
    keep_to(folder)
    stage(folder, "data/models/base", "stages.base_model")
    stage(folder, "data/raw/manifest.jsonl", "stages.download")
    stage(folder, "data/validated", "stages.validate")
    stage(folder, "data/frames/vstar/index.json", "stages.sample_frames")
    stage(folder, "metrics/evaluate/base.json", "stages.evaluate", "base")
    stage(folder, "metrics/sft.json", "stages.sft")
    stage(folder, "metrics/evaluate/sft.json", "stages.evaluate", "sft")
    for seed in seeds:
        model = folder / "data" / "models" / f"gspo-{seed}"
        if not model.exists():
            set_params(folder, **changes, gspo__trainer__seed=seed)
            (folder / "metrics" / "gspo.json").unlink(missing_ok=True)
            stage(folder, "metrics/gspo.json", "stages.gspo")
            (folder / "data" / "models" / "gspo").rename(model)
        stage(folder, f"metrics/evaluate/gspo-{seed}.json", "stages.evaluate", f"gspo-{seed}")


def tables(folder: Path, seeds: Sequence[int], decodings: Sequence[str]) -> None:
    """One table for each decoding: metrics in percent with intervals, then the differences from SFT."""
    for decoding in decodings:
        print(f"\n{decoding}\n\n| | " + " | ".join(SHOWN) + " |\n" + "|---" * (len(SHOWN) + 1) + "|")
        for model in ("base", "sft", *(f"gspo-{seed}" for seed in seeds)):
            metrics = json.loads((folder / f"metrics/evaluate/{model}.json").read_text())["vstar"][decoding]
            cells = [cell(metrics[name], *metrics["intervals"][name]) for name in SHOWN]
            print(f"| {model} | " + " | ".join(cells) + " |")
        scoring = SCORINGS["vstar"]
        fine_tuned = results(folder, "sft", decoding)
        for seed in seeds:
            found = scoring.difference(results(folder, f"gspo-{seed}", decoding), fine_tuned)
            cells = [cell(*(getattr(found[name], end) for end in ("value", "low", "high"))) for name in SHOWN]
            print(f"| gspo-{seed} - sft | " + " | ".join(cells) + " |")


def cell(value: float | None, low: float | None, high: float | None) -> str:
    """In percent, mLGM included, as the paper gives it; `-` for what is infinite or unknown."""
    value, low, high = (
        f"{100 * number:z.1f}" if number is not None and isfinite(number) else "-"
        for number in (value, low, high)
    )
    return f"{value} [{low}, {high}]"


def results(folder: Path, model: str, decoding: str) -> list[dict[str, Any]]:
    return json.loads((folder / f"data/predictions/{model}/vstar/{decoding}.results.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(".cache/openo3/ablation"))
    parser.add_argument("--videos", type=int, default=320, help="held-out clips, two records each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--decodings", nargs="+", default=["greedy", "sampled"])
    parser.add_argument("--steps", type=int, help="of each training, in place of the profile's")
    options = parser.parse_args()
    folder = options.folder.resolve()
    run(folder, options.videos, options.seeds, options.decodings, options.steps)
    tables(folder, options.seeds, options.decodings)


if __name__ == "__main__":
    main()
