"""How much of the shapes world there is: what `download.shapes` says."""

from __future__ import annotations

from dataclasses import dataclass, field

from openo3.shapes.noise import LabelNoise


@dataclass(frozen=True)
class ShapesConfig:
    """How much of the world to make, and from which `seed`.

    `rows_per_video` questions about each of `videos` go into each STGR file. Of the `images`, with a question
    each, every second one belongs to the RL file and the others to the SFT file.
    V-STaR asks `records_per_video` questions about each of `benchmark_videos`, TVGBench about half as many
    clips. The benchmarks' clips are `benchmark_scale` times as long as the training's and show as many times
    as many shapes. `label_noise` is how wrong the SFT file is.
    """

    videos: int = 600
    images: int = 400
    benchmark_videos: int = 150
    rows_per_video: int = 2
    records_per_video: int = 2
    benchmark_scale: int = 1
    seed: int = 0
    label_noise: LabelNoise = field(default_factory=LabelNoise)
