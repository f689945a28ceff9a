"""Measure `validate`: rows per second and peak memory, at the size of the published files and at others.

    python -m bench.validate                            # 7,000, 70,000 and 280,000 rows; about a minute
    python -m bench.validate --rows 70000 --rounds 5

The rows are synthetic, of all published sources and tasks; one in fifty is broken in one of many ways. The
media are links to a few real clips, so that opening them is paid once, as in any run after the first. Each
run is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from bench.memory import peak_mb
from openo3.annotations.sources import get
from openo3.files.artifacts import write_jsonl
from openo3.media.ffmpeg import encode
from stages import validate

Row = dict[str, Any]
SIZE, DURATION_S = (64, 48), 8.0
VIDEO_TASKS = {
    "temporal-spatial free-form QA": ("STR_coin", "STR_didemo", "STR_plm_rdcap", "STR_qvhighlight"),
    "temporal QA": ("TVG_ActivityNet", "TVG_tacos", "timerft"),
    "General video QA MCQ": ("videor1_mcq",),
    "General video QA Free-form": ("videor1_free_from",),
}
WORDS = ("the", "man", "opens", "a", "door", "and", "then", "picks", "up", "his", "red", "cup")


def row(number: int, media: int, chance: random.Random) -> Row:
    """A good SFT row of about 1 kB, as the published ones have."""
    if chance.random() < 0.16:
        return _image_row(number, chance)
    task, sources = chance.choice(list(VIDEO_TASKS.items()))
    times = sorted(round(chance.uniform(0, DURATION_S), 1) for _ in range(3))
    boxes = [_box(chance) for _ in times]
    spatial = task.startswith("temporal-spatial")
    claims = [
        f"<obj>cup</obj><box>{box}</box>at<t>{time_s}</t>s"
        for box, time_s in zip(boxes, times, strict=True)
        if spatial
    ]
    answers = {
        "temporal QA": f"From <t>{times[0]}</t>s to <t>{times[2] + 0.1:.1f}</t>s",
        "General video QA MCQ": chance.choice("ABCD"),
    }
    return {
        "id": f"row-{number}",
        "task": task,
        "source": chance.choice(sources),
        "question": " ".join(chance.choices(WORDS, k=16)) + "?",
        "answer": answers.get(task, "a red cup"),
        "video_path": f"{chance.randrange(media):05d}_00:00:39:000.mp4",
        "image_size": None,
        "key_frames": [{"idx": k, "time": t, "path": "k.jpg"} for k, t in enumerate(times) if spatial],
        "key_items": {str(k): {"cup": [box]} for k, box in enumerate(boxes) if spatial},
        "reasoning_process": " ".join(chance.choices(WORDS, k=60) + claims),
    }


def _image_row(number: int, chance: random.Random) -> Row:
    x1, y1, x2, y2 = _box(chance)
    box = [round(x1 * SIZE[0]), round(y1 * SIZE[1]), round(x2 * SIZE[0]) + 1, round(y2 * SIZE[1]) + 1]
    evidence = f"<obj>cup</obj><box>{box}</box>"
    return {
        "id": f"row-{number}",
        "task": "visual QA",
        "source": "TreeVGR",
        "question": " ".join(chance.choices(WORDS, k=16)) + "?",
        "answer": evidence,
        "image_path": "images/i.jpg",
        "image_size": list(SIZE),
        "key_frames": [],
        "key_items": {},
        "reasoning_process": f"{' '.join(chance.choices(WORDS, k=60))} {evidence}",
    }


def _box(chance: random.Random) -> list[float]:
    x, y = chance.uniform(0, 0.5), chance.uniform(0, 0.5)
    return [round(value, 3) for value in (x, y, x + chance.uniform(0.1, 0.4), y + chance.uniform(0.1, 0.4))]


BREAKS: dict[str, Callable[[Row], None]] = {
    "no question": lambda row: row.update(question=" "),
    "question is a number": lambda row: row.update(question=7),
    "answer is null": lambda row: row.update(answer=None),
    "unknown source": lambda row: row.update(source="elsewhere"),
    "unknown task": lambda row: row.update(task="poetry"),
    "path climbs": lambda row: row.update(video_path="../../etc/passwd", image_path="/etc/passwd"),
    "no such media": lambda row: row.update(video_path="gone.mp4", image_path="gone.jpg"),
    "late": lambda row: row.update(key_frames=[{"idx": 0, "time": 99.0, "path": None}], key_items={}),
    "not finite": lambda row: row.update(key_frames=[{"idx": 0, "time": float("nan"), "path": None}]),
    "inverted box": lambda row: row.update(key_items={"0": {"cup": [[0.5, 0.1, 0.2, 0.9]]}}),
    "box outside": lambda row: row.update(key_items={"0": {"cup": [[0.5, 0.1, 1.2, 0.9]]}}),
    "open tag": lambda row: row.update(reasoning_process="a <obj>cup</obj><box>[0.1,0.2,0.3,0.4]"),
    "no reasoning": lambda row: row.update(reasoning_process=""),
    "markup": lambda row: row.update(id="<script>alert(1)</script>", question="", source="<b>x</b>"),
}


def write_raw(raw: Path, rows: int, media: int) -> None:
    """A `data/raw` folder with both STGR files."""
    chance = random.Random(0)
    lines = list(_write_media(raw / "media", media))
    (raw / "annotations").mkdir(parents=True)
    for name, count in (("STGR-SFT.json", rows * 5 // 11), ("STGR-RL.json", rows - rows * 5 // 11)):
        made = [row(number, media, chance) for number in range(count)]
        for number in range(0, count, 50):
            chance.choice(list(BREAKS.values()))(made[number])
        (raw / "annotations" / name).write_text(json.dumps(made), encoding="utf-8")
    write_jsonl(raw / "missing.jsonl", [])
    write_jsonl(raw / "manifest.jsonl", lines)


def _write_media(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """Links to one clip and one image below every source's root; the lines of the manifest."""
    sources = [source for group in VIDEO_TASKS.values() for source in group]
    clip, image = folder / "clip.mp4", folder / "image.jpg"
    encode(clip, (np.full((SIZE[1], SIZE[0], 3), k, np.uint8) for k in range(16)), fps=2, size=SIZE)
    Image.new("RGB", SIZE).save(image)
    roots = {root for source in sources if (root := get(source).videos)}
    kfs = {root for source in sources if (root := get(source).key_frames)}
    targets = [(f"{root}/{n:05d}_00:00:39:000.mp4", clip) for root in sorted(roots) for n in range(count)]
    targets += [(f"{root}/k.jpg", image) for root in sorted(kfs)] + [("videos/treevgr/images/i.jpg", image)]
    for path, origin in targets:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(origin, folder / path)
        yield {"path": f"media/{path}", "size": 0, "sha256": origin.suffix, "source": "bench"}


def check(folder: Path) -> dict[str, float]:
    """Seconds of the stage without its largest import, and memory before the stage and at its peak."""
    import great_expectations  # noqa: F401  (slow; the stage imports it inside)

    before, start = peak_mb(), time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        validate.run(validate.Params(max_rejected_share=1.0), folder)
    return {"seconds": time.perf_counter() - start, "before_mb": before, "peak_mb": peak_mb()}


def measured(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.validate", "--one", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[7_000, 70_000, 280_000])
    parser.add_argument("--media", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is printed")
    parser.add_argument("--one", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(check(options.one)))
        return
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="openo3-bench-") as folder:
            write_raw(Path(folder) / "data/raw", rows, options.media)
            runs = [measured(Path(folder)) for _ in range(options.rounds)]
        seconds, before, peak = (median(run[key] for run in runs) for key in runs[0])
        speed = f"{rows:9,} rows in {seconds:6.1f} s: {rows / seconds:7,.0f} rows/s"
        print(f"{speed}, peak {peak:.0f} MB, of which {before:.0f} MB are Great Expectations")


if __name__ == "__main__":
    main()
