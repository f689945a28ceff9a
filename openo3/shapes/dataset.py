"""Write a shapes world into a folder: annotations and exactly the media that they name.

    STGR-SFT.json  STGR-RL.json  V_STaR_test.json  TVGBench.json
    videos/000012.mp4  kfs/000012_31.jpg  images/000007_45.jpg  vstar/000003.mp4  tvgbench/000001.mp4
    world.json                                                      the inputs that determine the media

Each media file is written atomically and depends only on its name and on `world.json` (seed, scale and the
rendering code). A folder with the same `world.json` therefore gets only its missing files, even after a kill.
If `world.json` differs, all media are rendered again.
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
from openo3.shapes import annotate, benchmarks, clips, media_files, render, scene
from openo3.shapes.clips import Clip
from openo3.shapes.config import ShapesConfig

WORLD_FILE = "world.json"
FOLDERS = ("videos", "kfs", "images", "vstar", "tvgbench")
RENDERING_MODULES = (scene, clips, render, media_files, ffmpeg)
"""The modules that determine the bytes of media files."""


@dataclass
class World:
    """The rows of each annotation file, and for each media file (by its path) a function that writes it."""

    files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    media: dict[str, Callable[[Path], None]] = field(default_factory=dict)

    def add_video(self, folder: str, clip: Clip) -> None:
        self.media[f"{folder}/{clip.name}.mp4"] = partial(media_files.write_video, scene=clip.scene)

    def add_picture(self, path: str, clip: Clip, index: int) -> None:
        self.media[path] = partial(media_files.write_picture, scene=clip.scene, time_s=clip.frame_time(index))


def generate(folder: Path, config: ShapesConfig) -> None:
    """Make `folder` hold the world that `config` describes. It must be empty or hold a shapes world.

    Raises `FileExistsError` if the folder holds anything else.
    """
    _remove_outdated_media(
        folder,
        {
            "seed": config.seed,
            "scale": config.benchmark_scale,
            "code": _digest(Path(str(module.__file__)) for module in RENDERING_MODULES),
        },
    )
    world = World()
    _add_training(world, config)
    _add_benchmarks(world, config)
    _write_missing_media(folder, world.media)
    for name, rows in world.files.items():
        _write_rows(folder / name, rows)
    for path in (path for name in FOLDERS for path in (folder / name).iterdir()):
        if f"{path.parent.name}/{path.name}" not in world.media:
            path.unlink()


def _add_training(world: World, config: ShapesConfig) -> None:
    supervised, reinforced = [], []
    for index in range(config.videos):
        clip = Clip.sample(config.seed, "train", index)
        world.add_video("videos", clip)
        sft, rl = annotate.rows_of_clip(clip, config.rows_per_video, config.label_noise)
        supervised += sft
        reinforced += rl
        for frame in (frame for row in sft + rl for frame in row["key_frames"]):
            world.add_picture(f"kfs/{frame['path']}", clip, annotate.key_frame_index(frame["path"]))
    for index in range(config.images):
        clip = Clip.sample(config.seed, "still", index)
        rows, errors = (reinforced, None) if index % 2 else (supervised, config.label_noise)
        row, frame = annotate.row_of_picture(clip, errors)
        rows.append(row)
        world.add_picture(f"images/{row['image_path']}", clip, frame)
    world.files |= {"STGR-SFT.json": supervised, "STGR-RL.json": reinforced}


def _add_benchmarks(world: World, config: ShapesConfig) -> None:
    count = config.benchmark_videos
    for benchmark in benchmarks.WORLD_BENCHMARKS:
        world.files[benchmark.file] = []
        for index in range(count // benchmark.of_clips):
            clip = Clip.sample(config.seed, benchmark.name, index, config.benchmark_scale)
            world.add_video(benchmark.name, clip)
            world.files[benchmark.file] += benchmark.records(clip, config.records_per_video)


def _remove_outdated_media(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Remove the folder's media unless they were made from the same `inputs`.

    `world.json` is blank while old media are removed, so that the next run notices a kill in between.
    """
    world_file = folder / WORLD_FILE
    others = (
        [path for path in folder.iterdir() if path.name != f".{WORLD_FILE}.part"] if folder.exists() else []
    )
    if others and not world_file.exists():
        raise FileExistsError(
            f"{folder}: has {others[0].name} but no {WORLD_FILE}, so it is not a shapes world"
        )
    if not world_file.exists() or read_json(world_file) != inputs:
        write_json(world_file, None)
        for name in FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        write_json(world_file, inputs)
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)


def _write_missing_media(folder: Path, media: Mapping[str, Callable[[Path], None]]) -> None:
    """Write the files that do not exist yet, in threads, since torch and ffmpeg release the GIL."""
    import torch

    missing = {path: write for path, write in media.items() if not (folder / path).exists()}
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        written = [pool.submit(write, folder / path) for path, write in missing.items()]
        try:
            for future in tqdm(as_completed(written), "shapes", len(written), unit="file", disable=None):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a JSON list with one row a line, unless the file already has this content."""
    lines = (orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in rows)
    text = b"[\n" + b",\n".join(lines) + b"\n]\n"
    if not (path.exists() and path.read_bytes() == text):
        with atomic_file(path) as part:
            part.write_bytes(text)


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
