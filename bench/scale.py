"""Measure how `sample_frames` scales: time and memory at two sizes, and the cost of one percent more videos.

    python -m bench.scale                       # 400 and 1,600 videos; two or three minutes on two cores
    python -m bench.scale --videos 4000 --workers 0
    python -m bench.scale --executor dask://127.0.0.1:8786

Each run is a process of its own, so that its peak memory is its own: that of the process that writes the
store, and that of the largest of its decoders (unless they are elsewhere). The videos are links to a few real
clips under many names.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.frames import POLICY, Clips
from bench.memory import children_peak_mb, peak_mb
from openo3.executors import LOCAL
from openo3.media.frame_writer import Request, write_store

DIGITS = (2, 0, 0, 1, 0, 0)
CLIPS = Clips("clip", (320, 240), 6, 15, count=8)


def fill(folder: Path, videos: int, workers: int, executor: str) -> dict[str, float]:
    """Create a store of that many videos below `folder`, or update it to that number."""
    requests = []
    (folder / "media").mkdir(exist_ok=True)
    clips = sorted(folder.glob("clip-*.mp4"))
    for number in range(videos):
        path = folder / f"media/{number:06d}.mp4"
        if not path.exists():
            os.link(clips[number % len(clips)], path)
        requests.append(Request(path.name, str(number % len(clips))))
    before, decoders = inodes(folder / "store"), [0.0]
    started = time.perf_counter()
    done = write_store(
        folder / "store",
        folder / "media",
        requests,
        POLICY,
        shards=16,
        workers=workers,
        executor=executor,
        time_limit_s=60.0,
        progress=lambda count: decoders.append(children_peak_mb()),
    )
    return {
        "seconds": time.perf_counter() - started,
        "frames": done.frames,
        "decoded": done.sampled,
        "written": sum(size for inode, size in inodes(folder / "store").items() if inode not in before),
        "writer_mb": peak_mb(),
        "decoder_mb": max(decoders),
    }


def inodes(store: Path) -> dict[int, int]:
    """Files with sizes and modification times, so that a rewritten file counts as another."""
    return {stat.st_ino: stat.st_size for stat in map(Path.stat, store.glob("*.parquet"))}


def measured(*arguments: object) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.scale", "--one", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--videos", type=int, default=400, help="the larger size is four times that")
    parser.add_argument("--workers", type=int, default=2, help="processes; 0 for one per core")
    parser.add_argument("--executor", default=LOCAL)
    parser.add_argument("--one", nargs=4, metavar=("FOLDER", "VIDEOS", "WORKERS", "EXECUTOR"))
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.one:
        folder, videos, workers, executor = options.one
        print(json.dumps(fill(Path(folder), int(videos), int(workers), executor)))
        return
    print(f"{len(os.sched_getaffinity(0))} cores, executor {options.executor}, workers {options.workers}")
    columns = ("seconds", "frames/s", "decoded", "MB written", "MB, writer", "MB, a decoder")
    print(" " * 18, *(f"{column:>13}" for column in columns))
    for videos in (options.videos, 4 * options.videos):
        with tempfile.TemporaryDirectory() as folder:
            CLIPS.render(Path(folder))
            for label, count in (
                (f"{videos:,} videos", videos),
                ("one percent more", videos + videos // 100),
                ("nothing new", videos + videos // 100),
            ):
                found = measured(folder, count, options.workers, options.executor)
                rate = found["decoded"] * found["frames"] / count / found["seconds"]
                numbers = (found["seconds"], rate, found["decoded"], found["written"] / 1e6)
                numbers += (found["writer_mb"], found["decoder_mb"])
                written = (f"{number:13.{digits}f}" for number, digits in zip(numbers, DIGITS, strict=True))
                print(f"{label:18}", *written)


if __name__ == "__main__":
    main()
