"""ActivityNet Captions, grounding: when in a video a described event happens.

The published file (`val_1.json` or `val_2.json`, here `ActivityNet-Captions.json`) is an object of videos:

    {"v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0.28, 55.15], ...], "sentences": ["A man", ...]}}

Each sentence is a record; `parse` adds its `media`, relative to `data/raw/media`:

    {"id": "v_uqiMw7tQ1Cc/0", "video": "v_uqiMw7tQ1Cc", "span": [0.28, 55.15], "question": "A man ...",
     "media": "videos/activitynet/v_uqiMw7tQ1Cc.mp4"}

Metrics are those of the published tables: `R1@0.3`, `R1@0.5`, `R1@0.7` and `mIoU`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from openo3.annotations import rows as fields
from openo3.annotations import sources
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Fitted, Record, fit_span
from openo3.benchmarks.grounding import grounding_benchmark
from openo3.core.geometry import Span


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The sentences of all videos, each with its `span`; a sentence or span without the other is kept.

    Raises `AnnotationError` for a file that holds no JSON object of videos.
    """
    for video, facts in fields.read_objects_of_videos(path).items():
        spans, sentences = (
            found if isinstance(found := facts.get(name), list) else []
            for name in ("timestamps", "sentences")
        )
        for index, (span, sentence) in enumerate(zip_longest(spans, sentences)):
            question = sentence.strip() if isinstance(sentence, str) else sentence
            yield {"id": f"{video}/{index}", "video": video, "span": span, "question": question}


def references(raw: Any) -> list[Reference]:
    """The record's video."""
    return sources.video("activitynet", raw, "video")


def true_span(record: Mapping[str, Any]) -> Span:
    """`(start_s, end_s)`."""
    return fields.numbers(record.get("span"), "span", 2)


def fit(record: Record, size: tuple[int, int] | None, tolerance_s: float) -> Fitted:
    """The record with its span within the video."""
    span, notes = fit_span("span", true_span(record), record["duration_s"], tolerance_s)
    return ({**record, "span": list(span)} if notes else record), notes


ACTIVITYNET = grounding_benchmark(
    "activitynet",
    "ActivityNet Captions",
    "ActivityNet-Captions.json",
    rows=rows,
    references=references,
    fit=fit,
    true_span=true_span,
    media_field="video",
    id_field="id",
    mean="mIoU",
)
