"""The clips of a shapes world, each drawn from its own seed.

    Clip.sample(seed=0, split="train", index=12).frame_from(2.5)  ->  31

A clip depends only on the world's seed, its split and its index. A world of 601 clips therefore contains the
clips of the world of 600.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from openo3.shapes.scene import Scene, sample_scene

SPLITS = ("train", "still", "vstar", "tvgbench")
"""Clips of `still` are not written as videos; one frame of each becomes a picture for visual QA."""


@dataclass(frozen=True)
class Clip:
    """A scene with its place in the world, and its own random streams for questions and label noise."""

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
        """The beginning of its file names."""
        return f"{self.index:06d}"

    @property
    def question_rng(self) -> np.random.Generator:
        return _rng(self.seed, self.split, self.index, 1)

    def noise_rng(self, number: int) -> np.random.Generator:
        """The random stream for the label noise of question `number`."""
        return _rng(self.seed, self.split, self.index, 2, number)

    def frame_from(self, time_s: float) -> int:
        """The index of the first frame at or after `time_s`, or of the last frame."""
        return min(ceil(time_s * self.scene.fps - 1e-6), frame_count(self.scene) - 1)

    def frame_time(self, index: int) -> float:
        return index / self.scene.fps


def frame_count(scene: Scene) -> int:
    return round(scene.duration_s * scene.fps)


def frame_times(scene: Scene) -> list[float]:
    """The presentation time of each frame, in seconds."""
    return [index / scene.fps for index in range(frame_count(scene))]


def _rng(seed: int, split: str, index: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, SPLITS.index(split), index, *stream])
