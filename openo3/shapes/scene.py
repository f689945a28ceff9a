"""Scenes of coloured shapes with exact boxes and times.

A scene is a clip of 6 to 45 seconds in which two to six shapes appear, stay or move, occlude one another and
leave. A few numbers describe it, so the position of each shape is known exactly at any time, and a frame can
be rendered at any time and size. Coordinates are normalised to 0-1 of the frame, times are in seconds.

    Scene(duration_s=9.5, fps=12, size=(160, 120), objects=(
        Object(colour="red", shape="circle", enter_s=1.0, leave_s=5.5, start=(0.2, 0.4), velocity=(0.1, 0.0),
               ...
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openo3.core.schema import Box

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 45, 45),
    "green": (50, 175, 70),
    "blue": (50, 90, 230),
    "yellow": (240, 215, 50),
    "purple": (160, 70, 200),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "cyan": (60, 210, 220),
}
SHAPES: dict[str, tuple[float, float]] = {
    # name -> half width and half height of its box, in units of its radius
    "circle": (1.0, 1.0),
    "square": (0.88, 0.88),
    "triangle": (1.0, 1.0),
    "diamond": (1.0, 1.0),
    "cross": (1.0, 1.0),
    "ring": (1.0, 1.0),
}
SIZES = ((128, 128), (160, 120), (120, 160), (192, 108), (240, 180), (320, 180))
FRAME_RATES = (8.0, 10.0, 12.5, 15.0, 24.0, 30000 / 1001)
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


@dataclass(frozen=True)
class Object:
    """One shape. Later objects of a scene lie on top of earlier ones.

    `start` is the normalised centre at `enter_s`. `velocity` is in frame sides per second. `radius` is in
    units of the frame's shorter side.
    """

    colour: str
    shape: str
    radius: float
    enter_s: float
    leave_s: float
    start: tuple[float, float]
    velocity: tuple[float, float]
    shade: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    def centre(self, time_s: float) -> tuple[float, float]:
        elapsed = time_s - self.enter_s
        return self.start[0] + self.velocity[0] * elapsed, self.start[1] + self.velocity[1] * elapsed

    def in_view(self, time_s: float) -> bool:
        return self.enter_s <= time_s <= self.leave_s

    @property
    def direction(self) -> str | None:
        """The direction of its motion as a word, `None` if it does not move."""
        if self.velocity == (0.0, 0.0):
            return None
        signs = tuple(int(np.sign(part)) for part in self.velocity)
        return next(word for word, sign in DIRECTIONS.items() if sign == signs)


@dataclass(frozen=True)
class Scene:
    """A clip. `size` is `(width, height)` in pixels; `background` holds the two RGB colours of a gradient."""

    duration_s: float
    fps: float
    size: tuple[int, int]
    objects: tuple[Object, ...]
    background: tuple[tuple[int, int, int], tuple[int, int, int]]

    def box(self, item: Object, time_s: float) -> Box:
        """The normalised box of an object at a time, occluded parts included, clipped to the frame."""
        x, y = item.centre(time_s)
        width, height = self.size
        half_x, half_y = (
            item.radius * extent * min(self.size) / side
            for extent, side in zip(SHAPES[item.shape], (width, height), strict=True)
        )
        return (max(0.0, x - half_x), max(0.0, y - half_y), min(1.0, x + half_x), min(1.0, y + half_y))

    def hidden_by(self, item: Object, time_s: float) -> tuple[Object | None, float]:
        """The object that covers the largest share of `item`'s box at a time, and that share (0-1)."""
        box = self.box(item, time_s)
        area = (box[2] - box[0]) * (box[3] - box[1])
        largest: tuple[Object | None, float] = (None, 0.0)
        for other in self.objects[self.objects.index(item) + 1 :]:
            if other.in_view(time_s):
                over = self.box(other, time_s)
                width = min(box[2], over[2]) - max(box[0], over[0])
                height = min(box[3], over[3]) - max(box[1], over[1])
                share = max(0.0, width) * max(0.0, height) / area
                if share > largest[1]:
                    largest = (other, share)
        return largest

    def seen(self, item: Object, time_s: float) -> bool:
        """Whether the object is in view and less than half occluded, so that it can serve as evidence."""
        return item.in_view(time_s) and self.hidden_by(item, time_s)[1] < 0.5


def sample_duration(rng: np.random.Generator) -> float:
    """A duration in half seconds: 6-13 s for 85 % of clips, 13-30 s for 10 % and 31-45 s for 5 %."""
    kind = rng.random()
    low, high = (6, 13) if kind < 0.85 else (13, 30) if kind < 0.95 else (31, 45)
    return round(rng.uniform(low, high) * 2) / 2


def sample_object(rng: np.random.Generator, size: tuple[int, int], duration_s: float, name: str) -> Object:
    """A shape that lies inside the frame while it is in view.

    It is in view for 2 to 8 s. In a clip of under a minute, it is in view for at least a seventh of the clip,
    so that at least one of eight evenly spaced frames shows it.
    """
    colour, shape = name.split()
    shortest = min(8.0, max(2.0, np.ceil(duration_s / 7 * 2) / 2))
    length = min(duration_s, rng.integers(int(shortest * 2), 17) / 2)
    enter = round(rng.uniform(0, duration_s - length) * 2) / 2
    radius = rng.uniform(0.13, 0.24)
    reach = [radius * min(size) / side for side in size]
    start = [rng.uniform(r, 1 - r) for r in reach]
    velocity = (0.0, 0.0)
    if rng.random() < 0.6:
        word = list(DIRECTIONS)[rng.integers(4)]
        axis = 0 if DIRECTIONS[word][0] else 1
        sign = DIRECTIONS[word][axis]
        travel = rng.uniform(0.25, 1.0) * (1 - 2 * reach[axis])
        low, high = reach[axis], 1 - reach[axis] - travel
        edge = rng.uniform(low, high)
        start[axis] = edge if sign > 0 else 1 - edge
        speed = sign * travel / length
        velocity = (speed, 0.0) if axis == 0 else (0.0, speed)
    return Object(
        colour, shape, radius, enter, enter + length, (start[0], start[1]), velocity, rng.uniform(0.85, 1.0)
    )


def sample_scene(rng: np.random.Generator, size: tuple[int, int] | None = None, scale: int = 1) -> Scene:
    """A scene with two to six objects of different names.

    Any two entries are at least one second and a twelfth of the clip apart, and so are any two exits, so that
    evenly spaced frames show their order. A `scale` above 1 makes the clip that many times as long, with that
    many times as many objects: harder than the clips of training.
    """
    size = size or SIZES[rng.integers(len(SIZES))]
    duration = sample_duration(rng) * scale
    least_gap = max(1.0, duration / scale / 12)
    count = (int(rng.integers(3, 6)) + (duration / scale > 9)) * scale
    names = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    chosen = rng.choice(len(names), size=count, replace=False)
    objects: list[Object] = []
    for index in chosen:
        for _ in range(40):
            item = sample_object(rng, size, duration, names[index])
            gaps = [abs(item.enter_s - other.enter_s) for other in objects]
            gaps += [abs(item.leave_s - other.leave_s) for other in objects]
            if not gaps or min(gaps) >= least_gap:
                objects.append(item)
                break
    while len(objects) < 2:  # rare: no second object fitted
        return sample_scene(rng, size, scale)
    low, high = (20, 60) if rng.random() < 0.7 else (90, 130)
    corners = rng.integers(low, high, size=(2, 3))
    first, second = ((int(red), int(green), int(blue)) for red, green, blue in corners)
    fps = FRAME_RATES[rng.integers(len(FRAME_RATES))]
    return Scene(duration, fps, size, tuple(objects), (first, second))
