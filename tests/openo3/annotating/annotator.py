"""An endpoint that annotates the clips of these tests, and answers the filters' questions rightly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openo3.annotating.params import AnnotateParams, Endpoint
from tests.support.chat_endpoint import pictures, said
from tests.support.clips import clip

BAND = [0, 0, 1000, 250]
"""The red band of the clips in thousandths of the frame."""


def folder_of(path: Path, count: int = 1) -> Path:
    """Clips of 2 s with different content."""
    path.mkdir(parents=True)
    for number in range(count):
        clip(path / f"clip {number}.mp4", 60, first=3 * number)
    return path


def params(url: str, **changes: Any) -> AnnotateParams:
    return AnnotateParams(
        **{
            "endpoint": Endpoint(url, "some-model", "SOME_KEY"),
            "tasks": ("temporal-spatial",),
            "attempts": 1,
            "per_video": 1,
            **changes,
        }
    )


def annotation(**changes: Any) -> dict[str, Any]:
    """One good annotation of a temporal-spatial question."""
    return {
        "question": "What is at the top?",
        "key_frames": [{"time_s": 1.0, "objects": [{"name": "red band", "box": BAND}]}],
        "reasoning": "The <obj>red band</obj><box>[0,0,1000,250]</box>at<t>1.0</t>s is at the top.",
        "answer": "a red band",
    } | changes


def reply(*annotations: Any) -> str:
    return json.dumps({"annotations": list(annotations or [annotation()])})


def answer(body: dict[str, Any]) -> str:
    """Annotates, confirms every box, and answers rightly whenever it sees a picture."""
    if "response_format" in body:
        return reply()
    text = said(body)
    if "Answer yes or no" in text:
        return "Yes."
    if "You grade answers" in text:
        return "3" if "Candidate: a red band" in text and "Reference: a red band" in text else "0"
    return "a red band" if pictures(body) else "a green cup"
