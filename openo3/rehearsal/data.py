"""Data for a rehearsal: some records of the data that is there, or a world of the profile's shape.

The world is that of the default profile, rendered at the size of the published videos where the profile is
about those. It goes through the stages `download`, `validate` and `sample_frames` like any data, so frames
have the number and the size that the profile's parameters give them.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from tqdm import tqdm

from openo3.core.schema import Sample, Task
from openo3.files.artifacts import read_json, read_jsonl, write_jsonl
from openo3.media.frame_store import FrameStore
from openo3.rehearsal.footprint import ANSWER_TOKENS
from openo3.shapes import annotate, benchmarks, media_files
from openo3.shapes.clips import Clip
from openo3.shapes.noise import LabelNoise
from openo3.shapes.scene import sample_scene
from openo3.training.examples import key_times

PUBLISHED_SIZE = (640, 360)
"""W, H in pixels of a published video."""

STAGES = ("sft", "rl")


@dataclass(frozen=True)
class World:
    """How much of a shapes world to make: clips for training, pictures, and clips of each benchmark."""

    videos: int
    pictures: int
    benchmark_videos: int
    rows_per_video: int = 1
    records_per_video: int = 2
    benchmark_scale: int = 1
    size: tuple[int, int] | None = PUBLISHED_SIZE


def published_counts() -> dict[str, Any]:
    """Records of each published file, and the share of records about pictures."""
    return YAML(typ="safe").load(Path(__file__).with_name("published.yaml"))


def is_there(root: Path, sampling: Mapping[str, Any]) -> bool:
    """Whether `root` holds validated records, and frames sampled as the block `sample_frames` says."""
    stored = root / "data/frames/train/index.json"
    if not stored.is_file() or not all((root / f"data/validated/{name}.jsonl").is_file() for name in STAGES):
        return False
    train, policy = sampling["train"], FrameStore.open(stored.parent).policy
    wanted = {
        "fps": train["fps"],
        "min_frames": train["min_frames"],
        "max_frames": train["max_frames"],
        "max_pixels": train.get("max_pixels") or sampling["max_pixels"],
        "multiple": sampling["side_multiple"],
    }
    return all(policy.get(name) == value for name, value in wanted.items())


def take(root: Path, folder: Path, least: Mapping[str, int], seed: int = 0) -> None:
    """Take some of the records below `root`: media chosen at random with all their records, until there are
    at least `least` records of "sft" and "rl". The frames are linked, and nothing in `root` is written."""
    (folder / "data/validated").mkdir(parents=True)
    (folder / "data/frames").symlink_to((root / "data/frames").resolve())
    (folder / "data/validated/bench").symlink_to((root / "data/validated/bench").resolve())
    for name in STAGES:
        by_media: dict[str, list[dict[str, Any]]] = {}
        for row in read_jsonl(root / f"data/validated/{name}.jsonl"):
            by_media.setdefault(row["media"], []).append(row)
        order = sorted(by_media)
        random.Random(seed).shuffle(order)
        taken: list[dict[str, Any]] = []
        for media in order:
            if len(taken) >= least[name]:
                break
            taken += by_media[media]
        write_jsonl(folder / f"data/validated/{name}.jsonl", taken)


def make_world(folder: Path, world: World, seed: int = 0) -> None:
    """Write annotations and media into `folder`, in the layout that the source `local` reads."""
    files: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in ("STGR-SFT.json", "STGR-RL.json", *(each.file for each in benchmarks.WORLD_BENCHMARKS))
    }
    writes = []
    for index in range(world.videos):
        clip = _clip(seed, "train", index, world.size)
        sft, rl = annotate.rows_of_clip(clip, world.rows_per_video, LabelNoise())
        files["STGR-SFT.json"] += sft
        files["STGR-RL.json"] += rl
        writes.append(partial(media_files.write_video, folder / f"videos/{clip.name}.mp4", clip.scene))
        for path in {frame["path"] for row in sft + rl for frame in row["key_frames"]}:
            time_s = clip.frame_time(annotate.key_frame_index(path))
            writes.append(partial(media_files.write_picture, folder / "kfs" / path, clip.scene, time_s))
    for index in range(world.pictures):
        clip = _clip(seed, "still", index, world.size)
        row, frame = annotate.row_of_picture(clip, None if index % 2 else LabelNoise())
        files["STGR-RL.json" if index % 2 else "STGR-SFT.json"].append(row)
        time_s = clip.frame_time(frame)
        path = folder / "images" / row["image_path"]
        writes.append(partial(media_files.write_picture, path, clip.scene, time_s))
    for made in benchmarks.WORLD_BENCHMARKS:
        for index in range(world.benchmark_videos):
            clip = _clip(seed, made.name, index, world.size, world.benchmark_scale)
            files[made.file] += made.records(clip, world.records_per_video)
            path = folder / f"{made.name}/{clip.name}.mp4"
            writes.append(partial(media_files.write_video, path, clip.scene))
    for name in ("videos", "kfs", "images", *(each.name for each in benchmarks.WORLD_BENCHMARKS)):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        tqdm(total=len(writes), desc="clips", unit="file", disable=None) as bar,
    ):
        for _ in pool.map(lambda write: write(), writes):
            bar.update()
    for name, rows in files.items():
        (folder / name).write_text(json.dumps(rows, default=_plain))


def lengthen(rows: Path, words: int = ANSWER_TOKENS) -> None:
    """Repeat the reasoning of each record until it has about as many words and signs as a published one has
    tokens; a shapes world reasons briefly."""
    written = []
    for row in read_jsonl(rows):
        reasoning = row["reasoning"] or ""
        if reasoning:
            times = max(1, round(words / max(1, _pieces(reasoning))))
            row = {**row, "reasoning": " ".join([reasoning] * times)}
        written.append(row)
    write_jsonl(rows, written)


def corpus(validated: Path, prompts: Path, most: int = 2000) -> Iterator[str]:
    """Texts that the model is asked and answers with: of the templates and of the validated records."""
    yield prompts.read_text(encoding="utf-8")
    for name in STAGES:
        for number, row in enumerate(read_jsonl(validated / f"{name}.jsonl")):
            if number == most:
                break
            yield f"{row['question']} {row['reasoning'] or ''} {row['answer']}"


def groups(rows: Iterable[Mapping[str, Any]], most: int, direct: bool) -> int:
    """How many packs SFT makes of these records, at `most` together: those that show the same frames. With
    `direct`, one more question about the evenly spread frames of each video with key items counts too."""
    samples = [Sample.from_json(row) for row in rows]
    sizes = Counter((sample.media, key_times(sample)) for sample in samples)
    if direct:
        sizes.update((media, ()) for media in _asked_where(samples))
    return sum(-(-count // most) for count in sizes.values())


def asked_where(rows: Iterable[Mapping[str, Any]]) -> int:
    """How many questions `data.direct` adds to these records: one about each video with key items."""
    return len(_asked_where(Sample.from_json(row) for row in rows))


def _asked_where(samples: Iterable[Sample]) -> set[str]:
    return {sample.media for sample in samples if sample.task is Task.TEMPORAL_SPATIAL and sample.key_items}


def benchmark_records(validated: Path) -> dict[str, int]:
    """How many records each validated benchmark has."""
    return {path.stem: len(read_json(path)) for path in sorted((validated / "bench").glob("*.json"))}


def _clip(seed: int, split: str, index: int, size: tuple[int, int] | None, scale: int = 1) -> Clip:
    if size is None:
        return Clip.sample(seed, split, index, scale)
    return Clip(seed, split, index, sample_scene(np.random.default_rng([seed, index, *size]), size, scale))


def _pieces(text: str) -> int:
    """Words, digits, tags and signs: about the tokens of a text."""
    return len(re.findall(r"</?\w+>|[^\W\d]+|\d|[^\w\s]", text))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value.tolist()
