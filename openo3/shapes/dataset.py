"""A shapes world as a folder: annotations and exactly the media that they name.

    STGR-SFT.json  STGR-RL.json  V_STaR_test.json  TVGBench.json
    videos/000012.mp4  kfs/000012_31.jpg  images/000007_45.jpg  vstar/000003.mp4  tvgbench/000001.mp4
    world.json                                                      what the media were made from

Every media file is written whole or not at all and depends only on its name and on what `world.json` says
(the seed and the code that draws). So a folder with the same `world.json` needs only the files that it lacks,
also after a kill at any moment; with another one, all its media are made anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from tqdm import tqdm

from openo3.files.artifacts import atomic_file, read_json, write_json
from openo3.media import ffmpeg
from openo3.shapes import annotate, benchmarks, clips, film, render, scene
from openo3.shapes.clips import Clip
from openo3.shapes.config import ShapesConfig

MARK = "world.json"
FOLDERS = ("videos", "kfs", "images", "vstar", "tvgbench")
DRAWING = (scene, clips, render, film, ffmpeg)
"""The code that a media file's bytes depend on."""


@dataclass
class World:
    """The rows of the annotation files, and how each media file (path in the folder) is made."""

    files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    media: dict[str, Callable[[Path], None]] = field(default_factory=dict)

    def film(self, folder: str, clip: Clip) -> None:
        self.media[f"{folder}/{clip.name}.mp4"] = partial(film.write_video, scene=clip.scene)

    def picture(self, path: str, clip: Clip, index: int) -> None:
        self.media[path] = partial(film.write_picture, scene=clip.scene, time_s=clip.frame_time(index))


def generate(folder: Path, config: ShapesConfig) -> None:
    """Bring `folder` to the world that `config` describes; it must be empty or hold a shapes world.

    Raises `FileExistsError` for a folder of something else.
    """
    _settle(
        folder,
        {
            "seed": config.seed,
            "scale": config.benchmark_scale,
            "code": _digest(module.__file__ for module in DRAWING),
        },
    )
    world = World()
    _add_training(world, config)
    _add_benchmarks(world, config)
    _make(folder, world.media)
    for name, rows in world.files.items():
        _write_rows(folder / name, rows)
    for path in (path for name in FOLDERS for path in (folder / name).iterdir()):
        if f"{path.parent.name}/{path.name}" not in world.media:
            path.unlink()


def _add_training(world: World, config: ShapesConfig) -> None:
    supervised, reinforced = [], []
    for index in range(config.videos):
        clip = Clip.sample(config.seed, "train", index)
        world.film("videos", clip)
        sft, rl = annotate.rows_of_clip(clip, config.rows_per_video, config.label_noise)
        supervised += sft
        reinforced += rl
        for frame in (frame for row in sft + rl for frame in row["key_frames"]):
            world.picture(f"kfs/{frame['path']}", clip, annotate.key_frame_index(frame["path"]))
    for index in range(config.images):
        clip = Clip.sample(config.seed, "still", index)
        rows, errors = (reinforced, None) if index % 2 else (supervised, config.label_noise)
        row, frame = annotate.row_of_still(clip, errors)
        rows.append(row)
        world.picture(f"images/{row['image_path']}", clip, frame)
    world.files |= {"STGR-SFT.json": supervised, "STGR-RL.json": reinforced}


def _add_benchmarks(world: World, config: ShapesConfig) -> None:
    count = config.benchmark_videos
    for name, split, number, records in (
        ("V_STaR_test.json", "vstar", count, benchmarks.vstar_records),
        ("TVGBench.json", "tvgbench", count // 2, benchmarks.tvgbench_records),
    ):
        world.files[name] = []
        for index in range(number):
            clip = Clip.sample(config.seed, split, index, config.benchmark_scale)
            world.film(split, clip)
            world.files[name] += records(clip, config.records_per_video)


def _settle(folder: Path, made_from: Mapping[str, Any]) -> None:
    """See that the folder holds no media but those made from the same.

    The mark is blank while old media are removed, so that a kill in between is noticed.
    """
    mark = folder / MARK
    others = [path for path in folder.iterdir() if path.name != f".{MARK}.part"] if folder.exists() else []
    if others and not mark.exists():
        raise FileExistsError(f"{folder}: has {others[0].name} but no {MARK}, so it is not a shapes world")
    if not mark.exists() or read_json(mark) != made_from:
        write_json(mark, None)
        for name in FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        write_json(mark, made_from)
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)


def _make(folder: Path, media: Mapping[str, Callable[[Path], None]]) -> None:
    """Make the files that are not there. Threads do: torch and ffmpeg do the work outside of Python."""
    import torch

    missing = {path: make for path, make in media.items() if not (folder / path).exists()}
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        made = [pool.submit(make, folder / path) for path, make in missing.items()]
        try:
            for future in tqdm(as_completed(made), "shapes", len(made), unit="file", disable=None):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """A JSON list with a row a line; left alone if it says the same already."""
    lines = (orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in rows)
    text = b"[\n" + b",\n".join(lines) + b"\n]\n"
    if not (path.exists() and path.read_bytes() == text):
        with atomic_file(path) as part:
            part.write_bytes(text)


def _digest(files: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()
