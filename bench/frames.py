"""Compare sampling frames once into a store with decoding the video for every training sample.

    python -m bench.frames                # three sets of clips, rendered on the spot; a few minutes
    python -m bench.frames --rounds 5

For each set of clips, in one run on one machine: how fast `sample_frames` fills a store with one process and
with two, starting them included; then the time until the frames of one training sample are in memory in model
size, from the store and by the published way: open the video, read the evenly spread frames, resize them,
for every sample again (decord and torchvision as in qwen-vl-utils; PyAV; OpenCV where it is installed;
torchvision itself reads no videos any more).
The third set is in a codec that decord is not trusted with, so `sample_frames` decodes it by PyAV.
Those ways take turns, sample by sample in one shuffled order. Medians: over rounds for filling, over samples
for reading. On a busy machine, the processors' time says more than the clock's.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from openo3.media.decode import SamplingConfig, sample_times
from openo3.media.ffmpeg import H264, encode
from openo3.media.frame_store import FrameStore
from openo3.media.frame_writer import Request, Written, write_store
from openo3.media.image import fit_size

POLICY = SamplingConfig(fps=2.0, min_frames=4, max_frames=16, max_pixels=128 * 28 * 28, multiple=28)


@dataclass(frozen=True)
class Clips:
    """A kind of clip. The sampling is the paper's, so only the cost of decoding differs."""

    name: str
    size: tuple[int, int]
    seconds: float
    fps: int
    count: int
    options: Mapping[str, object] = field(default_factory=lambda: H264)

    def render(self, folder: Path) -> list[Path]:
        """Coloured noise that drifts over a gradient, which compresses about as well as real video."""
        paths = [folder / f"{self.name}-{number:03d}.mp4" for number in range(self.count)]
        for number, path in enumerate(paths):
            encode(path, self._frames(number), self.fps, self.size, self.options)
        return paths

    def _frames(self, seed: int) -> Iterator[np.ndarray]:
        width, height = self.size
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 255, (height // 8 + 1, width // 4 + 1, 3), dtype=np.uint8)
        scene = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height]
        for number in range(round(self.seconds * self.fps)):
            left = number * 2 % (scene.shape[1] - width)
            frame = scene[:, left : left + width].copy()
            grain = rng.integers(0, 12, (height // 2, width // 2, 1), dtype=np.uint8)
            frame[: height // 2 * 2 : 2, : width // 2 * 2 : 2] //= 2
            frame[: height // 2 * 2 : 2, : width // 2 * 2 : 2] += grain
            yield frame


MPEG4 = {"f": "mp4", "vcodec": "mpeg4", "q": 5, "g": 30, "bf": 2}
SETS = (
    Clips("small", (160, 120), 10, 12, count=48),
    Clips("web", (640, 360), 20, 30, count=12),
    Clips("mpeg4", (640, 360), 20, 30, count=12, options=MPEG4),
)


def fill(folder: Path, clips: list[Path], workers: int) -> tuple[float, float, Written]:
    """Seconds by the clock and of the processors, processes' start included, and the written store."""
    requests = [Request(clip.name, hashlib.sha256(clip.read_bytes()).hexdigest()) for clip in clips]
    started, before = time.perf_counter(), _processor_s()
    done = write_store(
        folder, clips[0].parent, requests, POLICY, shards=8, workers=workers, time_limit_s=60.0
    )
    return time.perf_counter() - started, _processor_s() - before, done


def _processor_s() -> float:
    """Of this process and of those that it started and that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def from_store(store: FrameStore, clip: Path) -> np.ndarray:
    return np.stack([np.asarray(frame.image) for frame in store.frames(clip.name)])


def by_decord(clip: Path) -> np.ndarray:
    import decord

    reader = decord.VideoReader(str(clip), num_threads=1)
    return _resized(reader.get_batch(_places(len(reader), reader.get_avg_fps())).asnumpy())


def by_cv2(clip: Path) -> np.ndarray:
    cv2: Any = importlib.import_module("cv2")  # not in the lock file

    video = cv2.VideoCapture(str(clip))
    places = _places(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), video.get(cv2.CAP_PROP_FPS))
    frames = []
    for place in places:
        video.set(cv2.CAP_PROP_POS_FRAMES, place)
        frames.append(cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB))
    return _resized(np.stack(frames))


def by_pyav(clip: Path) -> np.ndarray:
    import av

    with av.open(str(clip)) as video:
        frames = list(video.decode(video=0))
        rate = float(video.streams.video[0].average_rate or 0)
    chosen = (frames[place] for place in _places(len(frames), rate))
    return _resized(np.stack([frame.to_ndarray(format="rgb24") for frame in chosen]))


AGAIN: dict[str, tuple[str, Callable[[Path], np.ndarray]]] = {
    "decord": ("decode again, decord", by_decord),
    "cv2": ("decode again, OpenCV", by_cv2),
    "av": ("decode again, PyAV", by_pyav),
}


def _places(count: int, fps: float) -> list[int]:
    wanted = len(sample_times(count / fps, POLICY.fps, POLICY.min_frames, POLICY.max_frames))
    return np.linspace(0, count - 1, wanted).round().astype(int).tolist()


def _resized(frames: np.ndarray) -> np.ndarray:
    """[T, H, W, 3] to model size, bicubic with antialiasing."""
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    width, height = fit_size(frames.shape[2], frames.shape[1], POLICY.max_pixels, POLICY.multiple)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    pixels = resize(pixels, [height, width], InterpolationMode.BICUBIC, antialias=True)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


def compare(kind: Clips, rounds: int, folder: Path) -> None:
    clips = kind.render(folder / kind.name)
    size, codec = "x".join(map(str, kind.size)), kind.options["vcodec"]
    print(f"\n{kind.count} clips of {size}, {kind.seconds:g} s at {kind.fps} frames/s, {codec}")
    for workers in (1, 2):
        runs = [fill(folder / f"{kind.name}-{workers}-{turn}", clips, workers) for turn in range(rounds)]
        rate = median(done.frames / seconds for seconds, _, done in runs)
        per_clip = median(seconds / done.media for seconds, _, done in runs)
        busy = median(seconds / done.media for _, seconds, done in runs)
        label = f"sample_frames, {workers} process{'es' * (workers > 1)}"
        times = f"{per_clip * 1000:10.1f} ms/clip, once, {busy * 1000:.1f} ms of the processors"
        print(f"  {label:28} {rate:8.0f} frames/s {times}")
    store = FrameStore.open(folder / f"{kind.name}-1-0")
    ways = {"from the store": lambda clip: from_store(store, clip)}
    ways |= {label: way for module, (label, way) in AGAIN.items() if importlib.util.find_spec(module)}
    taken = race(ways, clips, rounds)
    for label, times in taken.items():
        frames = median(size / seconds for seconds, size in times)
        each = median(seconds for seconds, _ in times)
        ratio = each / median(seconds for seconds, _ in taken["from the store"])
        share = "" if label == "from the store" else f", the store is {ratio:.1f} times as fast"
        print(f"  {label:28} {frames:8.0f} frames/s {each * 1000:10.1f} ms/training sample{share}")
    stored = sum(file.stat().st_size for file in (folder / f"{kind.name}-1-0").iterdir())
    print(f"  disk: clips {sum(c.stat().st_size for c in clips) / 1e6:.1f} MB, store {stored / 1e6:.1f} MB")


def race(
    ways: dict[str, Callable[[Path], np.ndarray]], clips: list[Path], rounds: int
) -> dict[str, list[tuple[float, int]]]:
    """Seconds and frame counts per training sample. The methods are measured alternately."""
    order = clips * rounds
    random.Random(0).shuffle(order)
    taken: dict[str, list[tuple[float, int]]] = {label: [] for label in ways}
    for way in ways.values():
        way(clips[0])  # imports
    for clip in order:
        for label, way in ways.items():
            started = time.perf_counter()
            frames = way(clip)
            taken[label].append((time.perf_counter() - started, len(frames)))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="stores filled, and passes over the clips")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(f"{len(os.sched_getaffinity(0))} cores, {options.rounds} rounds, medians")
    with tempfile.TemporaryDirectory() as folder:
        for kind in SETS:
            compare(kind, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
