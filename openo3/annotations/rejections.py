"""Why a row of an annotation file is left out.

A line of `data/validated/rejected.jsonl`:

    {"file": "STGR-SFT.json", "row": 17, "id": "q17", "source": "local", "task": "temporal QA",
     "reason": "span outside the video", "field": "answer", "detail": "ends 3.2 s after the media"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Every reason there is, in the words that reports show and metrics count."""

    NOT_OBJECT = "row is not an object"
    FIELD_MISSING = "field missing"
    WRONG_TYPE = "wrong type"
    NOT_FINITE = "number not finite"
    NOT_TEXT = "not valid text"
    TOO_LONG = "text too long"
    UNKNOWN_TASK = "unknown task"
    UNKNOWN_SOURCE = "unknown source"
    NO_SUCH_MEDIA = "source has no such media"
    UNSAFE_PATH = "path leaves its root"
    EMPTY_ANSWER = "answer empty"
    BAD_ANSWER = "answer does not parse"
    DUPLICATE_ID = "duplicate id"
    EMPTY_QUESTION = "question empty"
    NO_REASONING = "reasoning missing"
    BAD_EVIDENCE = "malformed evidence"
    UNKNOWN_OPTION = "answer is not one of the options"
    NO_KEY_FRAMES = "key frames missing"
    KEY_ORDER = "key frames not in time order"
    KEY_REPEATED = "key frame idx repeated"
    KEY_UNKNOWN = "key_items of an unknown key frame"
    BOX_SPACE = "box in the wrong coordinate space"
    BOX_OUTSIDE = "box outside the frame"
    BOX_INVERTED = "box inverted"
    BOX_EMPTY = "box without area"
    SPAN_EMPTY = "span does not end after it starts"
    MEDIA_MISSING = "media missing"
    MEDIA_UNREADABLE = "media unreadable"
    KEY_IMAGE_MISSING = "key frame image missing"
    KEY_IMAGE_UNREADABLE = "key frame image unreadable"
    KEY_TIME = "key frame outside the video"
    SPAN_TIME = "span outside the video"
    EVIDENCE_TIME = "cited time outside the video"


class RowError(ValueError):
    """One row cannot be used: `field` names the part of it, `detail` shows what is there."""

    def __init__(self, reason: Reason, field: str, detail: str = "") -> None:
        super().__init__(f"{field}: {reason}" + (f" ({detail})" if detail else ""))
        self.reason, self.field, self.detail = reason, field, detail


@dataclass(frozen=True)
class Rejection:
    """One row that is left out. `row` is its index in the file's list, from 0."""

    file: str
    row: int
    id: str | None
    source: str | None
    task: str | None
    reason: Reason
    field: str
    detail: str

    @classmethod
    def of(cls, file: str, row: int, raw: Any, error: RowError) -> Rejection:
        return cls(file, row, *labels(raw), error.reason, error.field, error.detail)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def labels(raw: Any) -> tuple[str | None, str | None, str | None]:
    """`(id, source, task)` as far as an untrusted row tells them."""
    if not isinstance(raw, Mapping):
        return None, None, None
    return label(raw.get("id")), label(raw.get("source")), label(raw.get("task"))


def printable(value: str) -> str:
    """The text without what no UTF-8 file can hold."""
    return value.encode(errors="replace").decode()


def label(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return printable(str(value))[:200]
