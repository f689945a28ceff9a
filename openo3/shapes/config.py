"""The size of the shapes world: the parameters `download.shapes`."""

from __future__ import annotations

from dataclasses import dataclass, field

from openo3.configuration import NonNegative, Positive, Seed
from openo3.shapes.noise import LabelNoise


@dataclass(frozen=True)
class ShapesConfig:
    """The size of the world and its `seed`.

    Each STGR file has `rows_per_video` questions about each of `videos`. Each of the `images` has one
    question; every second one belongs to the RL file, the others to the SFT file. V-STaR asks
    `records_per_video` questions about each of `benchmark_videos`, TVGBench about half as many clips.
    Benchmark clips are `benchmark_scale` times as long as training clips and show `benchmark_scale` times as
    many shapes. `label_noise` is the noise of the SFT file's labels.
    """

    videos: NonNegative = 600
    images: NonNegative = 400
    benchmark_videos: NonNegative = 150
    rows_per_video: Positive = 2
    records_per_video: Positive = 2
    benchmark_scale: Positive = 1
    seed: Seed = 0
    label_noise: LabelNoise = field(default_factory=LabelNoise)
