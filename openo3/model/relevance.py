"""How relevant the evidence of an answer is to the question, as the model itself rates it (arXiv 2510.20579).

Each box that the reasoning cites is cut out of the frame nearest to its time. All crops of one answer are
shown at once, with their times. The rating is the likeliest next token of the three digits 0 (not relevant),
1 (perhaps) and 2 (clearly relevant): one forward pass, and always a rating.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from openo3.core.evidence import Completion
from openo3.core.prompts import Prompts
from openo3.core.schema import Box
from openo3.core.voting import WEIGHTS
from openo3.media.frame_store import Frame
from openo3.media.image import fit_size, resize
from openo3.model.encode import Prompt
from openo3.model.engine import Engine

MOST_CROPS = 10
"""An answer that cites more has no usable evidence: it points at everything."""

RATINGS = tuple(map(str, WEIGHTS))


@dataclass(frozen=True)
class Evidence:
    """What an answer to `question` cites: `crops` of frames; `duration_s` is as in `Prompt`."""

    question: str
    crops: tuple[Frame, ...]
    duration_s: float | None

    @property
    def usable(self) -> bool:
        """Whether there are crops, and not too many."""
        return 0 < len(self.crops) <= MOST_CROPS

    def prompt(self, prompts: Prompts) -> Prompt:
        """What the model is asked. Crops of a still image are shown as those of a video of no length."""
        return Prompt(self.crops, self.duration_s or 0.0, prompts.relevance(self.question))


def evidence(
    question: str,
    completion: Completion,
    frames: Sequence[Frame],
    duration_s: float | None,
    side_multiple: int,
) -> Evidence:
    """What `completion` cites, cut out of the `frames` that the model saw, at least one.

    A box without area on the frame is left out. So is one after the end of the video, or without a time in a
    video. A box that is cited twice at the same frame is shown once.
    """
    cited: dict[tuple[int, Box], None] = {}
    for claim in completion.claims:
        time_s = 0.0 if duration_s is None else claim.time_s
        if time_s is None or time_s > (duration_s or 0.0):
            continue
        away = [abs(frame.time_s - time_s) for frame in frames]
        cited |= {(away.index(min(away)), box): None for box in claim.boxes}
    crops = (crop(frames[index], box, side_multiple) for index, box in cited)
    return Evidence(question, tuple(found for found in crops if found), duration_s)


def rate(engine: Engine, rated: Sequence[Evidence]) -> list[int | None]:
    """The relevance of each answer's evidence, 0-2; None where it is not usable."""
    asked = [each.prompt(engine.encoder.prompts) for each in rated if each.usable]
    ratings = iter(engine.choose(asked, RATINGS) if asked else ())
    return [next(ratings) if each.usable else None for each in rated]


def crop(frame: Frame, box: Box, side_multiple: int) -> Frame | None:
    """What is in a normalised box, enlarged to about the area of the frame; None if nothing is.

    The shape stays, as far as sides that are multiples of `side_multiple` allow.
    """
    width, height = frame.image.size
    left, top, right, bottom = (
        min(max(value, 0.0), 1.0) * side for value, side in zip(box, (width, height) * 2, strict=True)
    )
    corners = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    if left >= right or top >= bottom:
        return None
    cut = frame.image.crop(corners)
    scale = math.sqrt(width * height / (cut.width * cut.height))
    size = fit_size(round(cut.width * scale), round(cut.height * scale), width * height, side_multiple)
    return Frame(resize(cut, size), frame.time_s, key=False)
