"""Held-out benchmark records about shapes clips in the formats of V-STaR and TVGBench, with exact labels.

`openo3.benchmarks.vstar` and `.tvgbench` document the records. A quarter of V-STaR's questions take one step,
half take two and a quarter three; the record's domain states it. TVGBench asks equally many questions of each
family (a key of `questions.FAMILIES`), which is the record's `qsemtype`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from openo3.shapes.clips import Clip, frame_count
from openo3.shapes.questions import FAMILIES, SIMPLE, Subject, clear_subjects, whole_seconds

Record = dict[str, Any]

VSTAR_FAMILIES = (*SIMPLE, *10 * ("two steps",), *5 * ("three steps",))


def vstar_records(clip: Clip, count: int) -> list[Record]:
    return [_vstar_record(clip, subject) for subject in _subjects(clip, count, VSTAR_FAMILIES)]


def tvgbench_records(clip: Clip, count: int) -> list[Record]:
    return [
        {
            "path": f"{clip.name}.mp4",
            "question": subject.when,
            "answer": f"{subject.item.enter_s:.1f}-{subject.item.leave_s:.1f}",
            "duration": clip.scene.duration_s,
            "qsemtype": subject.family,
            "dataset_name": "shapes",
        }
        for subject in _subjects(clip, count, FAMILIES)
    ]


@dataclass(frozen=True)
class WorldBenchmark:
    """A benchmark about the world's clips. `name` is also the folder of its media, `records` makes those of a
    clip, and one in `of_clips` of the benchmark clips is for it."""

    name: str
    file: str
    records: Callable[[Clip, int], list[Record]]
    of_clips: int = 1


WORLD_BENCHMARKS = (
    WorldBenchmark("vstar", "V_STaR_test.json", vstar_records),
    WorldBenchmark("tvgbench", "TVGBench.json", tvgbench_records, of_clips=2),
)


def _subjects(clip: Clip, count: int, families: Iterable[str]) -> list[Subject]:
    return list(islice(clear_subjects(clip.scene, clip.question_rng, tuple(families)), count))


def _vstar_record(clip: Clip, subject: Subject) -> Record:
    scene, item = clip.scene, subject.item
    return {
        "vid": clip.name,
        "domain": "one step" if subject.family in SIMPLE else subject.family,
        "fps": scene.fps,
        "width": scene.size[0],
        "height": scene.size[1],
        "frame_count": frame_count(scene),
        "question": subject.what,
        "answer": f"the {item.name}",
        "object": item.name,
        "temporal_question": subject.when,
        "timestamps": [item.enter_s, item.leave_s],
        "spatial_question": f"Where is the {item.name}?",
        "spatial_question_2": f"Where is the {item.name}?",
        "bboxes": [_box(clip, subject, second) for second in whole_seconds(item)],
    }


def _box(clip: Clip, subject: Subject, second: int) -> Record:
    """The exact box at a whole second, in source pixels."""
    box = clip.scene.box(subject.item, second)
    sides = (value * side for value, side in zip(box, clip.scene.size * 2, strict=True))
    corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), (round(side, 1) for side in sides), strict=True))
    return {"timestamp": second, "frame_index": clip.frame_from(second), **corners}
