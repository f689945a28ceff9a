"""What a model's reply becomes: candidates for records, and records as STGR files have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openo3.annotations import stgr
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import check_text, shown
from openo3.core.evidence import convert_boxes, parse_claims
from openo3.core.geometry import NORMALISED, pixels
from openo3.core.schema import Box, Sample, Task

SOURCE = "local"
MAX_CHARS = {"question": 2_000, "answer": 2_000, "reasoning": 8_000, "name": 100}
"""The longest texts of a reply that become part of a record."""

_CONTROL = re.compile(
    r"<\|[^|<>]{1,40}\|>|</?(?:think|answer|image|video|tool_call|tool_response|s|bos|eos|unk|pad)>"
    r"|\[/?INST\]|<</?SYS>>",
    re.IGNORECASE,
)
"""What a tokenizer or a chat template may read as something else than text."""


@dataclass(frozen=True)
class Item:
    """A key item: an object, its normalised box and when it is there, None in an image."""

    name: str
    box: Box
    time_s: float | None


@dataclass(frozen=True)
class Candidate:
    """A record that has not passed the filters yet. `items` are what proves its answer."""

    sample: Sample
    items: tuple[Item, ...]

    @property
    def times_s(self) -> list[float]:
        """The key frames' times in order."""
        return sorted({item.time_s for item in self.items if item.time_s is not None})


def clean(said: str, field: str, *, tags: bool = False) -> str:
    """A text of a reply, stripped. `tags` of the evidence grammar are allowed in reasoning and answers alone.

    Raises `RowError` if it is empty, too long, no valid Unicode, or holds what is no text to a tokenizer.
    """
    said = check_text(said, field).strip()
    kind = field.rpartition(".")[2]
    most = MAX_CHARS.get(kind, 2_000)
    if not said:
        raise RowError(Reason.FIELD_MISSING, field, "empty")
    if len(said) > most:
        raise RowError(Reason.TOO_LONG, field, f"{len(said)} characters, at most {most}")
    if found := _CONTROL.search(said):
        raise RowError(Reason.NOT_TEXT, field, f"holds {shown(found[0])}")
    if not tags and re.search(r"</?(?:obj|box|t)>", said):
        raise RowError(Reason.BAD_EVIDENCE, field, "holds a tag of the evidence grammar")
    return said


def clean_name(said: str, field: str) -> str:
    """The name of an object, which claims can hold."""
    name = clean(said, f"{field}.name")
    if "<" in name or ">" in name or "\n" in name:
        raise RowError(Reason.NOT_TEXT, f"{field}.name", shown(name))
    return name


def key_items(items: tuple[Item, ...]) -> dict[float, dict[str, list[Box]]]:
    """Boxes by time and name, in order of time."""
    found: dict[float, dict[str, list[Box]]] = {}
    for item in sorted(items, key=lambda item: item.time_s or 0.0):
        if item.time_s is not None:
            found.setdefault(item.time_s, {}).setdefault(item.name, []).append(item.box)
    return found


def stgr_row(sample: Sample, *, reasoning: bool) -> dict[str, Any]:
    """A canonical record as `openo3.annotations.stgr` reads it; `media` is below `videos/` or `images/`."""
    size = sample.size if sample.is_image else None
    text_space = pixels(size) if size else NORMALISED
    row: dict[str, Any] = {
        "id": sample.id,
        "task": str(sample.task),
        "source": sample.source,
        "question": sample.question,
        "answer": convert_boxes(sample.answer, NORMALISED, text_space),
        "video_path": None if sample.is_image else sample.media,
        "image_path": sample.media if sample.is_image else None,
        "image_size": list(size) if size else None,
        "key_frames": [{"idx": frame.idx, "time": frame.time_s} for frame in sample.key_frames],
        "key_items": {
            str(idx): {
                name: [[round(side, 6) for side in box] for box in boxes] for name, boxes in items.items()
            }
            for idx, items in (sample.key_items or {}).items()
        },
    }
    if reasoning:
        row["reasoning_process"] = convert_boxes(sample.reasoning or "", NORMALISED, text_space)
    return row


def check_row(sample: Sample) -> None:
    """Raises `RowError` unless the record can be read back as it is written."""
    stgr.parse(stgr_row(sample, reasoning=True))


def cited(sample: Sample) -> Iterator[Item]:
    """Every box that the reasoning and the answer cite, one by one."""
    for claim in parse_claims(f"{sample.reasoning or ''}\n{sample.answer if sample.is_image else ''}"):
        for box in claim.boxes:
            yield Item(claim.name, box, claim.time_s)


def options_of(sample: Sample) -> list[str]:
    """The options that a question with choice lists, without their letters."""
    if sample.task not in (Task.MCQ, Task.TEMPORAL_MCQ):
        return []
    return [
        found[1].strip() for found in re.finditer(r"^\s*\(?[A-Z][.):]\s*(.+)$", sample.question, re.MULTILINE)
    ]
