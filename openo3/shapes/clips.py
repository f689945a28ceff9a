"""The clips that a shapes world consists of, each drawn from its own seed.

    Clip.sample(seed=0, split="train", index=12).frame_from(2.5)  ->  31

A clip depends on the world's seed, its split and its index and on nothing else, so a world of 601 clips has
the 600 of the smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from openo3.shapes.scene import Scene, sample_scene

SPLITS = ("train", "still", "vstar", "tvgbench")
"""A clip of `still` is never filmed: one frame of it is a picture for visual QA."""


@dataclass(frozen=True)
class Clip:
    """A scene with its place in the world, and streams of random numbers of its own for what is asked."""

    seed: int
    split: str
    index: int
    scene: Scene

    @classmethod
    def sample(cls, seed: int, split: str, index: int, scale: int = 1) -> Clip:
        """`scale`: see `sample_scene`."""
        return cls(seed, split, index, sample_scene(_rng(seed, split, index, 0), scale=scale))

    @property
    def name(self) -> str:
        """What its files begin with."""
        return f"{self.index:06d}"

    @property
    def question_rng(self) -> np.random.Generator:
        return _rng(self.seed, self.split, self.index, 1)

    def noise_rng(self, number: int) -> np.random.Generator:
        """For the errors in the label of its question of that number."""
        return _rng(self.seed, self.split, self.index, 2, number)

    def frame_from(self, time_s: float) -> int:
        """The first frame that is shown at `time_s` or later, or the last of all."""
        return min(ceil(time_s * self.scene.fps - 1e-6), frame_count(self.scene) - 1)

    def frame_time(self, index: int) -> float:
        return index / self.scene.fps


def frame_count(scene: Scene) -> int:
    return round(scene.duration_s * scene.fps)


def frame_times(scene: Scene) -> list[float]:
    """When each frame is shown, in seconds."""
    return [index / scene.fps for index in range(frame_count(scene))]


def _rng(seed: int, split: str, index: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, SPLITS.index(split), index, *stream])
