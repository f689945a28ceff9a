"""The outputs of all stages before the report, at a hundredth of the size.

Videos of two moving shapes through real H.264 and a real frame store; answers whose errors shrink from base
to SFT to GSPO; results and metrics by the real benchmarks. The base knows no grammar: asked in it, only its
boxes can be read. One base answer is hostile: it must stay text.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from openo3.benchmarks.ballots import Relevance, ballots, counted, score
from openo3.benchmarks.base import Benchmark
from openo3.benchmarks.conditions import CONDITIONS, Condition
from openo3.benchmarks.judges import RougeJudge
from openo3.benchmarks.registry import BENCHMARKS
from openo3.core.evidence import format_claim, format_completion, format_span, format_time
from openo3.core.geometry import RELATIVE_1000
from openo3.files.artifacts import write_csv, write_json, write_jsonl
from openo3.media.decode import SamplingConfig
from openo3.media.ffmpeg import encode
from openo3.media.frame_writer import Request, write_store
from openo3.prompt_file import default_prompts

SIZE = (192, 128)
FPS = 8
SHAPES = (("red circle", (222, 60, 50)), ("blue square", (50, 90, 225)), ("yellow circle", (240, 205, 40)))
GARBLED = "\u2af6 of the \u2af7 it \u2af6"
HOSTILE = '<script>alert("x")</script><img src="https://example.invalid/x.png" onerror="alert(1)">'
# model -> error of times in seconds, error of boxes in thousandths, share of wrong names
ERRORS = {"base": (2.5, 120, 0.6), "sft": (0.8, 45, 0.25), "gspo": (0.35, 22, 0.12)}
# condition -> factor by which the errors are larger
FACTORS = {"greedy": 1.0, "sampled": 1.4, "plain": 1.0, "blind": 5.0}
REWARDS = (
    "ans_acc",
    "ans_tiou",
    "ans_viou",
    "thk_temporal_point",
    "thk_temporal_segment",
    "thk_spatial",
    "format",
)


def write_run(root: Path, videos: int = 6, seed: int = 0) -> None:
    """Write every input of the stage `report` below `root`."""
    rng = random.Random(seed)
    media = root / "data/raw/media"
    clips = [_Clip(number, rng) for number in range(videos)]
    for clip in clips:
        (media / clip.media).parent.mkdir(parents=True, exist_ok=True)
        encode(media / clip.media, clip.frames(), FPS, SIZE)
    _write_frames(root, [clip.media for clip in clips])
    records = {
        "vstar": [clip.vstar(subject) for clip in clips for subject in range(len(SHAPES))],
        "tvgbench": [clip.tvgbench(subject) for clip in clips for subject in range(len(SHAPES))],
        "videomme": [clip.videomme(subject) for clip in clips for subject in range(len(SHAPES))],
    }
    for name, rows in records.items():
        write_json(root / f"data/validated/bench/{name}.json", rows)
    for model in ERRORS:
        metrics = {name: _evaluate(root, model, name, rows, rng) for name, rows in records.items()}
        write_json(root / f"metrics/evaluate/{model}.json", metrics)
    _write_training(root, rng)


class _Clip:
    """Two or three shapes that move along straight lines, each on screen for a part of the video."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self.media = f"videos/vstar/clip{number:03d}.mp4"
        self.duration_s = 6.0 + 2 * (number % 4)
        self.spans = [
            (start := rng.uniform(0, self.duration_s * 0.5), start + rng.uniform(2.2, self.duration_s * 0.45))
            for _ in SHAPES
        ]
        self.starts = [(rng.uniform(0.05, 0.6), rng.uniform(0.05, 0.6)) for _ in SHAPES]
        self.speeds = [(rng.uniform(-0.06, 0.08), rng.uniform(-0.05, 0.06)) for _ in SHAPES]

    def box(self, subject: int, time_s: float) -> tuple[float, float, float, float]:
        """Normalised."""
        moved = time_s - self.spans[subject][0]
        pairs = zip(self.starts[subject], self.speeds[subject], strict=True)
        x, y = (min(max(at + speed * moved, 0.0), 0.75) for at, speed in pairs)
        return x, y, x + 0.2, y + 0.3 * SIZE[0] / SIZE[1] * 2 / 3

    def frames(self) -> Iterator[np.ndarray]:
        for frame in range(int(self.duration_s * FPS)):
            picture = Image.linear_gradient("L").resize(SIZE).point(lambda v: 70 + v // 4).convert("RGB")
            draw = ImageDraw.Draw(picture)
            for subject, (name, colour) in enumerate(SHAPES):
                start, end = self.spans[subject]
                if start <= frame / FPS <= end:
                    x1, y1, x2, y2 = self.box(subject, frame / FPS)
                    corners = (x1 * SIZE[0], y1 * SIZE[1], x2 * SIZE[0], y2 * SIZE[1])
                    (draw.ellipse if "circle" in name else draw.rectangle)(corners, fill=colour)
            yield np.asarray(picture)

    def vstar(self, subject: int) -> dict[str, Any]:
        start, end = (round(time_s, 1) for time_s in self.spans[subject])
        boxes = []
        for second in range(math.ceil(start), math.floor(end) + 1):
            x1, y1, x2, y2 = self.box(subject, second)
            sides = {"xmin": x1 * SIZE[0], "ymin": y1 * SIZE[1], "xmax": x2 * SIZE[0], "ymax": y2 * SIZE[1]}
            boxes.append({"timestamp": second, "frame_index": second * FPS, **sides})
        name = SHAPES[subject][0]
        return {
            **{
                "vid": Path(self.media).stem,
                "domain": "shapes",
                "fps": float(FPS),
                "question": f"Which shape is {name.split()[0]}?",
            },
            **{"width": SIZE[0], "height": SIZE[1], "frame_count": int(self.duration_s * FPS)},
            **{"answer": f"the {name}", "object": name, "timestamps": [start, end], "bboxes": boxes},
            **{
                "temporal_question": f"When is the {name} in view?",
                "spatial_question": f"Where is the {name}?",
            },
            **{
                "spatial_question_2": f"Where is the {name}?",
                "media": self.media,
                "duration_s": self.duration_s,
            },
        }

    def tvgbench(self, subject: int) -> dict[str, Any]:
        start, end = self.spans[subject]
        return {
            **{"path": Path(self.media).name, "question": f"the {SHAPES[subject][0]} is in view"},
            **{"answer": f"{start:.1f}-{end:.1f}", "duration": self.duration_s, "qsemtype": "state"},
            **{"dataset_name": "plausible", "media": self.media, "duration_s": self.duration_s},
        }

    def videomme(self, subject: int) -> dict[str, Any]:
        choice = {"options": [name for name, _ in SHAPES], "answer": ascii_uppercase[subject]}
        length = ("short", "medium", "long")[subject]
        return self.vstar(subject) | choice | {"id": f"{self.media}-{subject}", "group": length}


def _write_frames(root: Path, media: list[str]) -> None:
    raw = root / "data/raw/media"
    requests = [Request(name, hashlib.sha256((raw / name).read_bytes()).hexdigest()) for name in media]
    policy = SamplingConfig(fps=2.0, min_frames=4, max_frames=16, max_pixels=24576, multiple=32)
    for name in ("vstar", "videomme"):
        write_store(root / "data/frames" / name, raw, requests, policy, shards=2, workers=1, time_limit_s=60)


def _evaluate(root: Path, model: str, name: str, records: list[dict], rng: random.Random) -> dict[str, Any]:
    benchmark = BENCHMARKS[name]
    metrics = {}
    for condition in CONDITIONS.values():
        if condition.vote:
            continue
        results, lines = [], []
        for index, record in enumerate(records):
            templates = default_prompts().plainly() if condition.bare else default_prompts()
            prompts = benchmark.questions(record, RELATIVE_1000, templates)
            said = {kind: _answer(model, kind, record, condition, rng) for kind in prompts}
            if (model, name, index) == ("base", "vstar", 0):
                said["what"] = HOSTILE
            results.append(benchmark.result(record, said, RELATIVE_1000))
            for kind, prompt in prompts.items():
                line = {"record": index, "id": str(index), "question": kind, "prompt": prompt}
                lines.append(
                    {**line, "completion": said[kind], "box_space": {"kind": "relative_1000", "size": None}}
                )
        results = benchmark.rate(results, RougeJudge())
        path = root / f"data/predictions/{model}/{name}/{condition.name}"
        write_jsonl(path.with_suffix(".jsonl"), lines)
        write_json(path.with_suffix(".results.json"), results)
        metrics[condition.name] = benchmark.score(results)
    return metrics | (_vote(root, benchmark, records, rng) if (model, name) == ("gspo", "vstar") else {})


def _vote(root: Path, benchmark: Benchmark, records: list[dict], rng: random.Random) -> dict[str, Any]:
    """Both votes among five careless samples; the evidence of every right one is rated 2, of others 0."""
    asked = [
        {
            "prompts": {"what": record["question"]},
            "completions": {
                "what": [_answer("sft", "what", record, CONDITIONS["blind"], rng) for _ in range(5)]
            },
        }
        for record in records
    ]
    cast = ballots(benchmark, records, [RELATIVE_1000] * len(records), asked, RougeJudge())
    relevance = [Relevance(tuple(int(2 * right) for right in ballot.scores), 10, 300) for ballot in cast]
    metrics = {}
    for name, rated in (("voted", None), ("confident", relevance)):
        results, lines = counted(benchmark, cast, rated)
        path = root / f"data/predictions/gspo/{benchmark.name}/{name}"
        write_jsonl(path.with_suffix(".jsonl"), lines)
        write_json(path.with_suffix(".results.json"), results)
        cost = {"completions": 5 * len(records), "tokens_written": 500 * len(records)}
        metrics[name] = score(benchmark, results, cast, cost, rated)
    return metrics


def _answer(model: str, kind: str, record: dict[str, Any], condition: Condition, rng: random.Random) -> str:
    time_error, box_error, wrong = (FACTORS[condition.name] * error for error in ERRORS[model])
    start, end = record.get("timestamps") or map(float, record["answer"].split("-"))

    def at(time_s: float) -> float:
        return round(max(0.0, time_s + rng.gauss(0, time_error)), 1)

    def near(box: dict[str, Any]) -> list[int]:
        sides = (box["xmin"] / SIZE[0], box["ymin"] / SIZE[1], box["xmax"] / SIZE[0], box["ymax"] / SIZE[1])
        return [min(999, max(0, round(1000 * side + rng.gauss(0, box_error)))) for side in sides]

    if kind.startswith("where"):
        return json.dumps({str(box["timestamp"]): near(box) for box in record["bboxes"]})
    if model == "base" and not condition.bare:
        return GARBLED
    first, last = sorted((at(start), at(end)))
    if kind.startswith("when"):
        if condition.bare:
            return f"From {first}s to {last}s"
        return format_completion(
            f"It comes at {format_time(first)} and leaves at {format_time(last)}.", format_span(first, last)
        )
    name = record["object"] if rng.random() > wrong else rng.choice(SHAPES)[0]
    said = ascii_uppercase[record["options"].index(name)] if kind == "which" else f"the {name}"
    if condition.bare:
        return said
    shown = record["bboxes"][:2]
    claims = [format_claim(name, [near(box)], at(box["timestamp"])) for box in shown]
    return format_completion(
        f"The clip shows the {' and then the '.join(claims)}, and no other shape of it.", said
    )


def _write_training(root: Path, rng: random.Random) -> None:
    def rise(k: int, count: int, low: float, high: float, noise: float) -> float:
        return round(low + (high - low) * (1 - math.exp(-3 * k / count)) + rng.gauss(0, noise), 5)

    sft = [
        {
            "step": k,
            "loss": rise(k, 260, 3.1, 0.3, 0.08),
            "learning_rate": 1e-3 * 0.5 * (1 + math.cos(math.pi * k / 260)),
            "grad_norm": rise(k, 260, 4.0, 0.9, 0.2),
            "mean_token_accuracy": rise(k, 260, 0.4, 0.93, 0.01),
        }
        for k in range(5, 261, 5)
    ]
    write_csv(root / "plots/sft.csv", sft, list(sft[0]))
    gspo = []
    for k in range(1, 54):
        parts = {
            f"rewards/{name}": rise(k, 53, 0.3 + 0.05 * i, 0.6 + 0.05 * i, 0.04)
            for i, name in enumerate(REWARDS)
        }
        rest = {"reward_std": rise(k, 53, 0.5, 0.3, 0.03), "kl": None, "entropy": rise(k, 53, 0.9, 0.5, 0.03)}
        more = {"clip_ratio": rise(k, 53, 0.0, 0.1, 0.01), "completion_length": rise(k, 53, 60, 52, 1)}
        gspo.append({"step": k, "reward": sum(parts.values()), **rest, **parts, **more})
    write_csv(root / "plots/gspo.csv", gspo, list(gspo[0]))
    files = {
        name: {"rows": 1240, "usable": 1237, "rejected": 3} for name in ("sft", "rl", "vstar", "tvgbench")
    }
    write_json(
        root / "metrics/validation.json", {"files": files, "reasons": {"box inverted": 9, "media missing": 3}}
    )
    counts = {"media": 6, "frames": 90, "key_frames": 12, "rejected": 0}
    write_json(root / "metrics/frames.json", dict.fromkeys(("train", "vstar", "tvgbench"), counts))
    write_json(root / "metrics/sft.json", {"steps": 260, "loss": 0.3, "seconds": 240.5})
    write_json(
        root / "metrics/gspo.json",
        {"steps": 53, "reward": 4.1, "seconds": 490.1, "added_rewards": {"ans_where": 1.0}},
    )
