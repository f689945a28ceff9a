"""Measure what each part of training contributes on the default world: the ablation over several seeds.

    python -m bench.ablation                                  # 640 held-out records, three seeds
    python -m bench.ablation --jobs 12 --gpus 4               # twelve trainings at a time on four GPUs
    python -m bench.ablation --videos 8 --seeds 0 --steps 2     # a quick check that it runs; some minutes

The stages themselves, as `dvc repro` calls them, each run in a folder of its own with the default's
parameters but for what its row changes. All runs share data, base model and, by seed, the fine-tuned model.
A killed run resumes at the stage that was cut off. The tables are written as Markdown: means over the seeds,
and paired differences with 95 % bootstrap intervals over the records (each record's score averaged over the
seeds).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from openo3.benchmarks.registry import BENCHMARKS
from openo3.core.metrics import Interval, paired_difference

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(".cache/openo3/ablation")


@dataclass(frozen=True)
class Variant:
    """A row of the tables.

    `changes` are changes to the default's parameters by dotted name. `stage` trains it from the model
    `start`. `asked` is a key of `openo3.benchmarks.conditions.CONDITIONS`.
    """

    name: str
    label: str
    stage: str = "gspo"
    start: str = "sft"
    asked: str = "greedy"
    changes: Mapping[str, Any] = field(default_factory=dict)


BASE = Variant("base", "base", stage="", start="base", asked="plain")
SFT = Variant("sft", "SFT", stage="sft", start="base")
GSPO = Variant("gspo", "SFT + GSPO")
VARIANTS = (
    BASE,
    SFT,
    Variant("sft-answers", "SFT without reasoning", "sft", "base", "plain", {"sft.data.reasoning": False}),
    Variant("gspo-cold", "GSPO without SFT", start="base"),
    Variant(
        "grpo",
        "SFT + GRPO (token level, clip 0.2)",
        changes={
            "gspo.trainer.importance_sampling_level": "token",
            "gspo.trainer.epsilon": 0.2,
            "gspo.trainer.epsilon_high": 0.2,
        },
    ),
    GSPO,
    Variant("no-gate", "… without temporal gating", changes={"gspo.rewards.gate_s": 1.0e9}),
    Variant("no-adaptive", "… without adaptive proximity", changes={"gspo.rewards.adaptive": False}),
    Variant("no-spatial", "… without thk_spatial", changes={"gspo.rewards.weights.thk_spatial": 0.0}),
    Variant("no-objects", "… without thk_objects", changes={"gspo.rewards.weights.thk_objects": 0.0}),
    Variant("no-where", "… without direct questions", changes={"gspo.data.direct": False}),
    Variant("no-average", "… without averaged weights", changes={"gspo.average_from": None}),
)
BY_NAME = {variant.name: variant for variant in VARIANTS}
AXES = {
    "vstar": {
        "acc": "what", "tIoU_1": "when 1", "tIoU_2": "when 2", "vIoU_1": "where 1", "vIoU_2": "where 2",
        "mAM": "mAM", "mLGM": "mLGM",
    },
    "tvgbench": {"m_tIoU": "TVG tIoU", "R1@0.7": "TVG R1@0.7"},
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A variant with one seed, in its own folder below `root`."""

    root: Path
    variant: Variant
    seed: int

    @property
    def folder(self) -> Path:
        return self.root / "runs" / f"{self.variant.name}-{self.seed}"

    @property
    def model(self) -> Path:
        return self.folder / "data/models" / (self.variant.stage or "base")

    def results(self, benchmark: str) -> list[dict[str, Any]]:
        name = self.variant.stage or "base"
        return read(self.folder / f"data/predictions/{name}/{benchmark}/{self.variant.asked}.results.json")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def parameters(settings: argparse.Namespace, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The default profile with the command's clips and steps; `changes` override values by dotted name."""
    params = YAML().load(ROOT / "profiles" / "shapes.yaml")
    common: dict[str, Any] = {"download.shapes.benchmark_videos": settings.videos}
    for name in ("sft", "gspo"):  # an interrupted run starts again, since it takes only minutes
        common |= {f"{name}.trainer.report_to": "none", f"{name}.trainer.save_strategy": "no"}
    if settings.steps:
        common |= {"sft.trainer.max_steps": settings.steps, "gspo.trainer.max_steps": settings.steps}
    for name, value in {**common, **changes}.items():
        *above, last = name.split(".")
        block = params
        for key in above:
            block = block[key]
        block[last] = value
    params["prompts"] = str(ROOT / params["prompts"])
    return params


def begin(folder: Path, params: Mapping[str, Any]) -> None:
    """Write the parameters. A folder begun with other parameters is refused: its table would mix both."""
    (folder / "data" / "models").mkdir(parents=True, exist_ok=True)
    begun = folder / "params.yaml"
    part = folder / "params.part"
    YAML().dump(params, part)
    if begun.exists() and begun.read_bytes() != part.read_bytes():
        sys.exit(f"{folder}: begun with other parameters; remove it or name another --folder")
    part.replace(begun)


def stage(folder: Path, made: str, *names: str, gpu: int | None = None) -> None:
    """Run a stage in `folder` unless its output `made` exists. Its log is `folder/log.txt`."""
    if (folder / made).exists():
        return
    print("-", folder.name, *names, flush=True)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
    with (folder / "log.txt").open("ab") as log:
        done = subprocess.run(
            [sys.executable, "-m", *names], cwd=folder, env=environment, stdout=log, stderr=log
        )
    if done.returncode:
        sys.exit(f"{folder}: {' '.join(names)} failed, see log.txt")


def link(at: Path, to: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    if not at.is_symlink():
        at.symlink_to(os.path.relpath(to, at.parent))


def make_data(root: Path, settings: argparse.Namespace) -> None:
    """The data that all runs share, and the base model."""
    begin(root, parameters(settings, {}))
    if not (root / "data/models/base").exists():
        link(root / "data/tiny-qwen3-vl", ROOT / "data/tiny-qwen3-vl")
    stage(root, "data/models/base", "stages.base_model")
    if not (root / "data/validated").exists():
        stage(root, "data/raw/manifest.jsonl", "stages.download")
        stage(root, "data/validated", "stages.validate")
    stage(root, "metrics/frames.json", "stages.sample_frames")  # written last


def train(run: Run, settings: argparse.Namespace, gpu: int | None) -> None:
    """Train one run, unless it is the base."""
    variant = run.variant
    changes = dict(variant.changes) | {"evaluate.decodings": {name: [variant.asked] for name in AXES}}
    if variant.stage:
        changes[f"{variant.stage}.trainer.seed"] = run.seed
    begin(run.folder, parameters(settings, changes))
    for name in ("validated", "frames"):
        link(run.folder / "data" / name, run.root / "data" / name)
    start = run.root / "data/models/base"
    if variant.start == "sft":
        start = Run(run.root, SFT, run.seed).model
    if variant.stage:
        link(run.folder / "data/models" / ("base" if variant.stage == "sft" else "sft"), start)
        made = f"metrics/{variant.stage}.json"
        stage(run.folder, made, f"stages.{variant.stage}", gpu=gpu)
    else:
        link(run.model, start)


def train_and_evaluate(run: Run, settings: argparse.Namespace, gpu: int | None) -> None:
    train(run, settings, gpu)
    name = run.variant.stage or "base"
    stage(run.folder, f"metrics/evaluate/{name}.json", "stages.evaluate", name, gpu=gpu)


def for_all(
    do: Callable[[Run, argparse.Namespace, int | None], None],
    runs: Sequence[Run],
    settings: argparse.Namespace,
) -> None:
    """Run `--jobs` jobs at a time, spread over the GPUs."""
    places: SimpleQueue[int | None] = SimpleQueue()
    for job in range(settings.jobs):
        places.put(job % settings.gpus if settings.gpus else None)

    def at_a_place(run: Run) -> None:
        place = places.get()
        try:
            do(run, settings, place)
        finally:
            places.put(place)

    with ThreadPoolExecutor(settings.jobs) as pool:
        list(pool.map(at_a_place, runs))


def mean_rows(runs: Sequence[Run], benchmark: str) -> np.ndarray:
    """[records, columns]: each record's scores, averaged over the seeds."""
    return np.mean([BENCHMARKS[benchmark].scoring.rows(run.results(benchmark)) for run in runs], axis=0)


def gains(later: Sequence[Run], earlier: Sequence[Run], benchmark: str) -> dict[str, Interval]:
    scoring = BENCHMARKS[benchmark].scoring
    found = paired_difference(
        mean_rows(later, benchmark).tolist(),
        mean_rows(earlier, benchmark).tolist(),
        scoring.statistic,
        videos=scoring.videos(later[0].results(benchmark)),
    )
    return dict(zip(scoring.metrics, found, strict=True))


def levels(runs: Sequence[Run], benchmark: str) -> dict[str, float]:
    scoring = BENCHMARKS[benchmark].scoring
    means = mean_rows(runs, benchmark).mean(axis=0)
    return dict(zip(scoring.metrics, scoring.statistic(means[None])[0], strict=True))


def tables(by_variant: Mapping[str, Sequence[Run]]) -> str:
    """Tables of the levels, of each row's gain over its reference row, and of mAM's gain by seed."""
    heads = [label for axes in AXES.values() for label in axes.values()]
    level_lines = [header("", heads)]
    gain_lines = [header("difference", heads)]
    seed_lines = [header("mAM, difference by seed", [f"seed {run.seed}" for run in by_variant["sft"]])]
    for name, runs in by_variant.items():
        cells = [f"{100 * levels(runs, bench)[key]:.1f}" for bench, axes in AXES.items() for key in axes]
        level_lines.append(line(BY_NAME[name].label, cells))
        for against in compared(name):
            label = f"{BY_NAME[name].label} - {BY_NAME[against].label}"
            other = by_variant[against]
            found = {bench: gains(runs, other, bench) for bench in AXES}
            gain_lines.append(line(label, [cell(found[b][key]) for b, axes in AXES.items() for key in axes]))
            one = (gains([run], [same_seed(other, run)], "vstar")["mAM"] for run in runs)
            seed_lines.append(line(label, map(cell, one)))
    return "\n\n".join("\n".join(lines) for lines in (level_lines, gain_lines, seed_lines))


def compared(name: str) -> tuple[str, ...]:
    """The rows that a row is compared with."""
    if name == "base":
        return ()
    if name == "sft-answers":
        return ("base", "sft")
    if name in ("sft", "gspo-cold"):
        return ("base",)
    return ("base", "sft") if name == "gspo" else ("sft", "gspo")


def same_seed(runs: Sequence[Run], like: Run) -> Run:
    """The run with the same seed. The base has only one run."""
    return next((run for run in runs if run.seed == like.seed), runs[0])


def header(first: str, heads: Sequence[str]) -> str:
    return line(first, heads) + "\n|" + "---|" * (len(heads) + 1)


def line(first: str, cells: Any) -> str:
    return "| " + " | ".join([first, *cells]) + " |"


def cell(gain: Interval) -> str:
    """The gain in percent, bold if the interval excludes zero."""
    text = f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return f"**{text}**" if gain.low > 0 or gain.high < 0 else text


def main() -> None:
    settings = arguments()
    for name in settings.variants:
        if lacking := {*compared(name), *({"sft"} & {BY_NAME[name].start})} - {*settings.variants}:
            sys.exit(f"--variants: {name} needs {', '.join(sorted(lacking))} too")
    root = settings.folder.resolve()
    make_data(root, settings)
    chosen = [BY_NAME[name] for name in settings.variants]
    by_variant = {
        variant.name: [Run(root, variant, seed) for seed in (settings.seeds if variant.stage else [0])]
        for variant in chosen
    }
    for_all(train, by_variant.get(SFT.name, []), settings)  # others start from it
    for_all(train_and_evaluate, [run for runs in by_variant.values() for run in runs], settings)
    count = len(next(iter(by_variant.values()))[0].results("vstar"))
    about = f"{count} held-out V-STaR records, seeds {', '.join(map(str, settings.seeds))}, {date.today()}."
    text = f"`python -m bench.ablation`: {about}\n\n{tables(by_variant)}\n"
    (root / "tables.md").write_text(text)
    print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ablation", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--videos", type=int, default=320, help="held-out clips, two records each")
    parser.add_argument("--variants", nargs="+", default=list(BY_NAME), choices=list(BY_NAME))
    add_training_arguments(parser)
    return parser.parse_args()


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """What a bench that trains several times over asks of its trainings."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of each training, in place of the profile's")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument(
        "--gpus", type=int, default=0, help="GPUs to spread them over; 0: as torch finds them"
    )


if __name__ == "__main__":
    main()
