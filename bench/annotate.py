"""What `openo3 annotate` and its filters are worth, on the shapes world, whose truth is known.

    python -m bench.annotate                # precision and recall of key items, filter by filter
    python -m bench.annotate --clips 8      # a quick check that it runs
    python -m bench.annotate --train        # also trains on the labels and on the truth; an hour

The default world's training clips, without their annotations, are annotated by the shipped base model behind
a real `openo3 serve`, which answers the world's own questions in the evidence grammar. Every filter is
applied to every label, so that each can be counted alone and after those before it. A key item is right if
the truth has one of the same name within `--tolerance-s` whose box overlaps by at least `IOU`. Intervals are
95 % bootstrap intervals over clips.

`--train` runs the stages on as many records of three kinds: labels that passed, labels drawn from all
readable ones, and the truth about the questions of the first. A killed run continues: replies are kept, and
stages that are done are not run again.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from bench.ablation import ROOT, begin, cell, header, line, link, parameters, read, stage
from openo3.annotating.candidates import Candidate, Item, stgr_row
from openo3.annotating.params import TASKS, AnnotateParams, Endpoint, FilterParams
from openo3.annotating.run import Annotated, ask
from openo3.annotations import stgr
from openo3.benchmarks.judges import CORRECT, RougeJudge
from openo3.benchmarks.registry import BENCHMARKS
from openo3.core.evidence import parse_claims, parse_span
from openo3.core.geometry import box_iou, tiou
from openo3.core.metrics import Interval, bootstrap
from openo3.core.schema import Sample
from openo3.core.words import same_words
from openo3.files.artifacts import atomic_file
from openo3.shapes import ShapesConfig, generate
from openo3.shapes.annotate import rows_of_clip
from openo3.shapes.clips import Clip
from openo3.shapes.media_files import write_video
from openo3.shapes.noise import LabelNoise

FOLDER = Path(".cache/openo3/annotate")
PROMPTS = Path(__file__).with_name("annotate_prompts.yaml")
SEED, ROWS_A_CLIP, IOU = 0, 4, 0.5
EXACT = LabelNoise(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
KINDS = {"filtered": "labels that passed", "unfiltered": "labels, unfiltered", "truth": "truth"}


@dataclass(frozen=True)
class Label:
    """What became of one question: its truth, and the label with the filters that it fails, if one was
    readable."""

    clip: str
    truth: Sample
    candidate: Candidate | None
    failed: frozenset[str]


def make_clips(folder: Path, count: int) -> dict[tuple[str, int], dict[str, Any]]:
    """The clips and the file of questions; the exact row of each question, by clip and number."""
    truth: dict[tuple[str, int], dict[str, Any]] = {}
    questions = []
    for index in range(count):
        clip = Clip.sample(SEED, "train", index)
        name, path = f"{clip.name}.mp4", folder / "clips" / f"{clip.name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_video(path, clip.scene)
        rows, _ = rows_of_clip(clip, ROWS_A_CLIP, EXACT)
        for row in rows:
            task = next(short for short, task in TASKS.items() if task == row["task"])
            questions.append({"question": row["question"], "task": task, "clip": name})
            truth[name, len(questions)] = row
    with atomic_file(folder / "questions.jsonl") as part:
        part.write_text("".join(json.dumps(row) + "\n" for row in questions))
    return truth


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[str]:
    """The address of an `openo3 serve` in a process of its own."""
    command = [sys.executable, "-m", "openo3.cli", "serve", "--model", str(model), "--port", "0"]
    log = folder / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stderr=errors, stdout=errors)
    try:
        while True:
            if found := re.search(r"answers at (http://\S+)", log.read_text()):
                yield f"{found[1]}/v1"
                return
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            sys.exit(f"{log}: openo3 serve did not start")
    finally:
        process.terminate()
        process.wait()


def annotated(folder: Path, model: Path) -> Annotated:
    """Ask the served model everything, all filters about every label."""
    with serving(model, folder) as url:
        params = AnnotateParams(
            endpoint=Endpoint(url, model.resolve().name),
            reply="evidence",
            send="clip",
            questions=str(folder / "questions.jsonl"),
            prompts=str(PROMPTS),
            max_tokens=224,
            concurrency=16,
            filters=FilterParams(confirm="name", confirm_margin=0.5, answers="words"),
        )
        return ask(folder / "clips", params, folder / "replies.jsonl", every_filter=True)


def labels(done: Annotated, truth: Mapping[tuple[str, int], dict[str, Any]]) -> list[Label]:
    """One for each question."""
    found: dict[tuple[str, int], tuple[Candidate, frozenset[str]]] = {}
    for result in done.results:
        for judged in result.judged:
            number = int(judged.candidate.sample.id.rpartition("-")[2])
            failed = frozenset(name for name, problem in judged.verdicts.items() if problem is not None)
            found[result.clip.name, number] = judged.candidate, failed
    return [
        Label(name, stgr.parse(row), *found.get((name, number), (None, frozenset())))
        for (name, number), row in truth.items()
    ]


def true_items(sample: Sample) -> list[Item]:
    """What the exact reasoning cites."""
    return [
        Item(claim.name, box, claim.time_s)
        for claim in parse_claims(sample.reasoning or "")
        for box in claim.boxes
    ]


def matched(items: Sequence[Item], truth: Sequence[Item], tolerance_s: float) -> int:
    """How many items are right; each true one counts once."""
    left = list(truth)
    count = 0
    for item in items:
        right = next((other for other in left if is_right(item, other, tolerance_s)), None)
        if right:
            left.remove(right)
            count += 1
    return count


def is_right(item: Item, truth: Item, tolerance_s: float) -> bool:
    near = abs((item.time_s or 0.0) - (truth.time_s or 0.0)) <= tolerance_s + 1e-6
    return same_words(item.name, truth.name) and near and box_iou(item.box, truth.box) >= IOU


def answered_right(said: Sample, truth: Sample) -> bool:
    """Whether a label's answer is the true one; of a span, whether it overlaps by at least a half."""
    span, true_span = parse_span(said.answer), parse_span(truth.answer)
    if true_span is not None:
        return span is not None and tiou(span, true_span) >= 0.5
    return RougeJudge().rate([(truth.question, truth.answer, said.answer)])[0] >= CORRECT


def counted(
    all_labels: Sequence[Label], keeps: Callable[[Label], bool], tolerance_s: float
) -> list[Interval]:
    """Precision and recall of key items, and the share of right answers, of the labels kept."""
    rows = []
    for label in all_labels:
        kept = label.candidate is not None and keeps(label)
        items = label.candidate.items if label.candidate and kept else ()
        truth = true_items(label.truth)
        right = matched(items, truth, tolerance_s)
        answered = (
            label.candidate is not None and kept and answered_right(label.candidate.sample, label.truth)
        )
        rows.append([len(items), right, len(truth), float(kept), float(answered)])

    def shares(means: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = [
                means[..., 1] / means[..., 0],
                means[..., 1] / means[..., 2],
                means[..., 4] / means[..., 3],
            ]
        return np.nan_to_num(np.stack(found, axis=-1))

    return bootstrap(rows, shares, videos=[label.clip for label in all_labels])


def table(all_labels: Sequence[Label], filters: Sequence[str], tolerance_s: float) -> str:
    """Rows: before any filter, after each in turn, and after each one alone."""
    heads = ["records", "key items", "precision", "recall", "answers right"]
    lines = [header("kept", heads)]

    def row(name: str, keeps: Callable[[Label], bool]) -> None:
        kept = [label for label in all_labels if label.candidate and keeps(label)]
        items = sum(len(label.candidate.items) for label in kept if label.candidate)
        cells = [f"{len(kept):,}", f"{items:,}"]
        lines.append(line(name, cells + list(map(share, counted(all_labels, keeps, tolerance_s)))))

    row("before any filter", lambda label: True)
    for number, name in enumerate(filters, start=1):
        passed = frozenset(filters[:number])
        row(f"after {name}", lambda label, passed=passed: not label.failed & passed)
    for name in filters:
        row(f"{name} alone", lambda label, name=name: name not in label.failed)
    return "\n".join(lines)


def share(found: Interval) -> str:
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def training_rows(kind: str, all_labels: Sequence[Label]) -> list[Sample]:
    """As many records of each kind as labels passed."""
    passed = [label for label in all_labels if label.candidate and not label.failed]
    if kind == "truth":
        return [label.truth for label in passed]
    readable = [label for label in all_labels if label.candidate]
    chosen = passed if kind == "filtered" else random.Random(SEED).sample(readable, len(passed))
    return [label.candidate.sample for label in chosen if label.candidate]


def prepare(data: Path, rows: Sequence[Sample], clips: Path, world: Path) -> None:
    """A folder as `download.source: local` reads it: the rows for both stages, their clips, and V-STaR's."""
    data.mkdir(parents=True, exist_ok=True)
    link(data / "videos", clips)
    for name in ("V_STaR_test.json", "vstar"):
        link(data / name, world / name)
    for name, reasoning in (("STGR-SFT.json", True), ("STGR-RL.json", False)):
        found = [
            stgr_row(sample, reasoning=reasoning)
            | {"id": f"{number}", "source": "local", "video_path": Path(sample.media).name}
            for number, sample in enumerate(rows)
        ]
        (data / name).write_text(json.dumps(found))


def train(root: Path, kind: str, rows: Sequence[Sample], settings: argparse.Namespace) -> None:
    """Run the stages in a folder of their own, on the world's held-out clips."""
    folder, world = root / "runs" / kind, root / "world"
    if not (world / "V_STaR_test.json").exists():
        generate(world, ShapesConfig(videos=0, images=0, benchmark_videos=settings.videos, seed=SEED))
    prepare(folder / "local", rows, root / "clips", world)
    changes = {
        "download.source": "local",
        "download.path": "local",
        "evaluate.decodings": {"vstar": ["greedy"]},
        "validate.max_rejected_share": 1.0,  # unfiltered labels may be of any kind
        "sft.trainer.seed": settings.seed,
        "gspo.trainer.seed": settings.seed,
    }
    begin(folder, parameters(settings, changes))
    link(folder / "data/models/base", settings.model.resolve())
    stage(folder, "data/raw/manifest.jsonl", "stages.download")
    stage(folder, "data/validated", "stages.validate")
    stage(folder, "metrics/frames.json", "stages.sample_frames")
    for name in ("sft", "gspo"):
        stage(folder, f"metrics/{name}.json", f"stages.{name}")
        stage(folder, f"metrics/evaluate/{name}.json", "stages.evaluate", name)


AXES = {"acc": "what", "tIoU_1": "when 1", "vIoU_1": "where 1", "mAM": "mAM"}


def training_table(root: Path) -> str:
    """The levels of each kind, and each kind's difference from training on the truth."""
    scoring = BENCHMARKS["vstar"].scoring
    lines = [header("", list(AXES.values()))]
    for model in ("sft", "gspo"):
        found = {
            kind: read(root / f"runs/{kind}/data/predictions/{model}/vstar/greedy.results.json")
            for kind in KINDS
        }
        for kind, name in KINDS.items():
            metrics = read(root / f"runs/{kind}/metrics/evaluate/{model}.json")["vstar"]["greedy"]
            cells = [f"{100 * metrics[key]:.1f}" for key in AXES]
            lines.append(line(f"{model.upper()} on {name}", cells))
        for kind in ("filtered", "unfiltered"):
            gains = scoring.difference(found[kind], found["truth"])
            lines.append(line(f"{model.upper()}: {KINDS[kind]} - truth", [cell(gains[key]) for key in AXES]))
    return "\n".join(lines)


def main() -> None:
    settings = arguments()
    root = settings.folder.resolve()
    root.mkdir(parents=True, exist_ok=True)
    truth = make_clips(root, settings.clips)
    done = annotated(root, settings.model)
    found = labels(done, truth)
    filters = [each.name for each in done.filters]
    unusable = sum(len(result.unusable) for result in done.results)
    about = (
        f"`python -m bench.annotate --clips {settings.clips}`: {len(found):,} questions, {unusable:,} "
        f"replies unusable, {sum(done.requests.values()):,} requests, {date.today()}."
    )
    texts = [about, table(found, filters, settings.tolerance_s)]
    if settings.train:
        for kind in KINDS:
            train(root, kind, training_rows(kind, found), settings)
        count = len(training_rows("truth", found))
        texts += [f"Trained on {count:,} records of each kind, seed {settings.seed}.", training_table(root)]
    text = "\n\n".join(texts) + "\n"
    (root / "tables.md").write_text(text)
    print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.annotate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--model", type=Path, default=ROOT / "data/tiny-qwen3-vl", help="what annotates")
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--tolerance-s", type=float, default=0.5, help="of a key item's time")
    parser.add_argument("--train", action="store_true", help="also train on the labels and on the truth")
    parser.add_argument("--videos", type=int, default=80, help="held-out clips, two records each")
    parser.add_argument("--steps", type=int, help="of each training, in place of the profile's")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
