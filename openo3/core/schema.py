"""The canonical training record: one typed form for every source and task.

A line of `data/validated/sft.jsonl`:

    {"id": "shapes-000012-motion", "task": "temporal-spatial free-form QA", "source": "shapes",
     "question": "Which shape enters after the red circle?", "answer": "the blue square",
     "media": "videos/shapes/videos/000012.mp4", "duration_s": 9.6, "size": [160, 120],
     "key_frames": [{"idx": 1, "time_s": 2.5, "path": "videos/shapes/kfs/000012_1.jpg"}],
     "key_items": {"1": {"blue square": [[0.12, 0.3, 0.34, 0.61]]}},
     "reasoning": "The <obj>blue square</obj><box>[0.12,0.3,0.34,0.61]</box>at<t>2.5</t>s ..."}

Every box in a canonical record, in `key_items` and inside `reasoning` and `answer` text alike, is
`[x1, y1, x2, y2]` normalised to 0-1 of the frame; every time is in seconds from the start of the media;
every path is relative to `data/raw/media`. Conversion to a model's own coordinate space happens at the
model's boundary (`openo3.core.geometry.BoxSpace`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Box = tuple[float, float, float, float]
"""`(x1, y1, x2, y2)`; which coordinate space is said wherever a box is named."""


class Task(StrEnum):
    """The six STGR tasks, spelled as in the published annotation files, and one that is derived from them."""

    TEMPORAL_SPATIAL = "temporal-spatial free-form QA"
    TEMPORAL = "temporal QA"
    TEMPORAL_MCQ = "temporal QA (MCQ)"
    VISUAL = "visual QA"
    MCQ = "General video QA MCQ"
    FREE_FORM = "General video QA Free-form"
    WHERE = "where"
    """Where an object is at given seconds, answered at once as V-STaR asks it. No annotation file has such
    rows: `Examples.with_direct` derives them from key items."""


STGR_TASKS = tuple(task for task in Task if task is not Task.WHERE)
"""What a row of an annotation file may be."""


@dataclass(frozen=True)
class KeyFrame:
    """An annotated moment: `idx` names it in `key_items`, `path` is its JPEG if the source ships one."""

    idx: int
    time_s: float
    path: str | None = None


@dataclass(frozen=True)
class Sample:
    """One question about one video or image, with its truth (all boxes normalised 0-1).

    `key_items` maps a key frame's `idx` to object names and their true boxes. `reasoning` is the text
    inside `<think>` for supervised training, `None` in reinforcement-learning records. `answer` is the
    text inside `<answer>`; temporal answers are `From <t>S</t>s to <t>E</t>s`, with choice followed by a
    newline and `Correct Option: L`. `size` is `(width, height)` of the source in pixels. `duration_s`
    is None for images.
    """

    id: str
    task: Task
    source: str
    question: str
    answer: str
    media: str
    duration_s: float | None = None
    size: tuple[int, int] | None = None
    key_frames: tuple[KeyFrame, ...] = ()
    key_items: Mapping[int, Mapping[str, tuple[Box, ...]]] | None = None
    reasoning: str | None = None

    @property
    def is_image(self) -> bool:
        return self.task is Task.VISUAL

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` writes and `from_json` reads back."""
        return {
            "id": self.id,
            "task": str(self.task),
            "source": self.source,
            "question": self.question,
            "answer": self.answer,
            "media": self.media,
            "duration_s": self.duration_s,
            "size": list(self.size) if self.size else None,
            "key_frames": [{"idx": k.idx, "time_s": k.time_s, "path": k.path} for k in self.key_frames],
            "key_items": {
                str(idx): {name: [list(box) for box in boxes] for name, boxes in items.items()}
                for idx, items in (self.key_items or {}).items()
            },
            "reasoning": self.reasoning,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Sample:
        """Read a canonical record. It was checked by `validate`; a malformed one raises `KeyError` etc."""
        return cls(
            id=row["id"],
            task=Task(row["task"]),
            source=row["source"],
            question=row["question"],
            answer=row["answer"],
            media=row["media"],
            duration_s=row["duration_s"],
            size=tuple(row["size"]) if row["size"] else None,
            key_frames=tuple(KeyFrame(k["idx"], k["time_s"], k["path"]) for k in row["key_frames"]),
            key_items={
                int(idx): {name: tuple(tuple(box) for box in boxes) for name, boxes in items.items()}
                for idx, items in row["key_items"].items()
            },
            reasoning=row["reasoning"],
        )
