"""Consecutive rows of an annotation file as columns of facts, over which rules are checked.

    block = Block.of(first=16384, rows=[({"id": "q1", "source": "local", ...}, ("videos/.../k1.jpg",)), ...])
    block.add_media(index)
    block.frame        a line per row: id, source, task, media, question.chars, ..., media.missing, ...

A file is checked block by block, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from openo3.validation.facts import UNGROUNDED
from openo3.validation.media import PROBLEMS, MediaFacts, MediaIndex
from openo3.validation.suites import OVERRUN, STATE, overrun

ROWS = 1 << 14
"""Rows of a block: Great Expectations takes a third of a second per block, however small it is."""

ANNOTATED_SIZE = "size.annotated"
"""The fact of the `(W, H)` in whose pixels a row's boxes are, if it says so."""

DURATION, WIDTH, HEIGHT = "media.duration_s", "media.width", "media.height"
"""Facts about the files: seconds and pixels."""

ANNOTATED_LENGTH = "media.annotated_s"
"""The fact of a video's length in seconds according to the row, if it says so."""

_SAME_LENGTH = 0.1  # the allowed difference of annotated lengths, relative to the longer one

_SAME_SHAPE = 0.02  # the allowed difference of aspect ratios of scaled copies, since sides are whole pixels

_LABELS = ("id", "source", "task", "media", "kind", STATE)


@dataclass
class Block:
    """`frame` is indexed by row number; `key_images` are the files of each row's key frames, if any."""

    frame: pd.DataFrame
    key_images: dict[int, tuple[str, ...]]

    @classmethod
    def of(cls, first: int, rows: Sequence[tuple[Mapping[str, Any], tuple[str, ...]]]) -> Block:
        """The facts and key images of rows of differing keys, numbered from `first`."""
        names = dict.fromkeys(_LABELS) | {name: None for facts, _ in rows for name in facts}
        columns = {name: [facts.get(name) for facts, _ in rows] for name in names}
        numbers = pd.RangeIndex(first, first + len(rows))
        images = {number: images for number, (_, images) in zip(numbers, rows, strict=True) if images}
        return cls(pd.DataFrame(columns, index=numbers), images)

    def add_media(self, index: MediaIndex) -> None:
        """Add the facts about the media files."""
        paths, kinds = self.frame["media"], self.frame["kind"]
        media = [
            index[path].as_kind(kind, path) if isinstance(path, str) else None
            for path, kind in zip(paths, kinds, strict=True)
        ]
        self._add_problems("media", media)
        if self.key_images:
            self._add_problems("key_frames.path", [self._worst_image(row, index) for row in self.frame.index])
        duration = self._column((facts.duration_s if facts else None for facts in media), float)
        self.frame[DURATION] = duration
        for place, side in enumerate((WIDTH, HEIGHT)):
            sizes = (facts.size[place] if facts and facts.size else None for facts in media)
            self.frame[side] = self._column(sizes, float)
        if ANNOTATED_LENGTH in self.frame:
            annotated = self._column(self.frame[ANNOTATED_LENGTH], float)
            longer = annotated.clip(lower=duration)  # relative to the longer one
            self.frame["media.length_difference"] = (annotated - duration).abs() / longer
        if ANNOTATED_SIZE in self.frame:
            sizes = zip(self.frame[ANNOTATED_SIZE], media, strict=True)
            self.frame["size.mismatch"] = self._column((_mismatch(*each) for each in sizes), object)
        for time in OVERRUN:
            if time in self.frame:
                self.frame[overrun(time)] = self._column(self.frame[time], float) - duration

    def accepted(self, fact: str, rejected: Collection[int]) -> np.ndarray:
        """The values of a numeric fact in the rows that are not `rejected`."""
        if fact not in self.frame:
            return np.empty(0)
        values = self._column(self.frame[fact], float).to_numpy(float)
        values = values[~self.frame.index.isin(list(rejected))]
        return values[~np.isnan(values)]

    def warnings(self, rejected: Collection[int]) -> dict[str, int]:
        """How many rows that are not `rejected` look wrong, by what is wrong."""
        lengths = self.accepted("media.length_difference", rejected)
        counts = {
            "reasoning without any <t> or <box>": int(self.accepted(UNGROUNDED, rejected).sum()),
            "annotated frame_count and fps disagree with the file's length": int(
                (lengths > _SAME_LENGTH).sum()
            ),
        }
        return {what: count for what, count in counts.items() if count}

    def _worst_image(self, row: int, index: MediaIndex) -> MediaFacts | None:
        """A row's first key-frame image that has a problem, else its first one."""
        images = [index[path].as_kind("image", path) for path in self.key_images.get(row, ())]
        return next((facts for facts in images if facts.problem), images[0] if images else None)

    def _add_problems(self, field: str, found: Sequence[MediaFacts | None]) -> None:
        for problem in PROBLEMS:
            details = (facts.detail if facts and facts.problem == problem else None for facts in found)
            self.frame[f"{field}.{problem}"] = self._column(details, object)

    def _column(self, values: Iterable[Any], dtype: type) -> pd.Series:
        return pd.Series(list(values), index=self.frame.index, dtype=dtype)


def _mismatch(annotated: tuple[float, float] | None, media: MediaFacts | None) -> str | None:
    """The problem with an annotated size. Scaled copies are accepted, since boxes are normalised."""
    if not annotated or not media or not media.size:
        return None
    (width, height), (real_width, real_height) = annotated, media.size
    if abs(width * real_height / (height * real_width) - 1) <= _SAME_SHAPE:
        return None
    turned = ", turned by its rotation" if (width, height) == (real_height, real_width) else ""
    return f"annotated {width:g}x{height:g}, the file is shown as {real_width}x{real_height}{turned}"
