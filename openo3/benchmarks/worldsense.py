"""WorldSense: multiple-choice questions about what is seen and heard.

The published file is a JSON object, video -> its facts and `task0`, `task1`, ... Each task is a record, whose
group is its `task_domain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openo3.annotations import choice_records, sources
from openo3.annotations.rows import read_videos
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Record
from openo3.benchmarks.choices import choice_benchmark


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The tasks of all videos, each with its `video` and an `id`.

    Raises `AnnotationError` for a file that holds no JSON object.
    """
    for video, facts in read_videos(path).items():
        tasks = facts.items() if isinstance(facts, dict) else [("task0", facts)]
        for name, task in tasks:
            if name.startswith("task"):
                labels = {"video": video, "id": f"{video}/{name}"}
                yield {**task, **labels} if isinstance(task, dict) else labels


def references(raw: Any) -> list[Reference]:
    """The record's video."""
    return sources.video("worldsense", raw, "video")


def parse(raw: Any) -> Record:
    """Raises `RowError` if a field that the question or the score needs is absent or of a wrong type."""
    [video] = references(raw)
    options = choice_records.options(raw, "candidates")
    return choice_records.record(raw, video, name="id", options=options, group="task_domain")


WORLDSENSE = choice_benchmark(
    "worldsense",
    "WorldSense",
    "worldsense_qa.json",
    rows=rows,
    references=references,
    parse=parse,
    media_field="video",
    id_field="id",
    groups=("Recognition", "Understanding", "Reasoning"),
)
