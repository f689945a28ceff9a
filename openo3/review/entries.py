"""What the page shows of a record, as plain JSON values: a row of the list, and the whole of it.

Texts are cut to a length that a page shows. Boxes are normalised, times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openo3.annotations.rejections import Rejection, labels
from openo3.core.evidence import format_completion, parse_completion, parse_span
from openo3.core.geometry import NORMALISED
from openo3.gallery.clips import Clip
from openo3.gallery.paged import MAX_LINE, cut
from openo3.inference.evidence_json import evidence_json
from openo3.inference.transcript import without_tags
from openo3.review.collection import Collection, Entry, media_of
from openo3.review.edits import SAME_TIME_S, Draft, marks
from openo3.review.pictures import picture, written
from openo3.validation.media import MediaFacts

KEPT = ""
"""The reason of a record that can be used."""


class Words:
    """Texts that many rows share, by number, so that the list stays small."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.listed)
            self.listed.append(text)
        return self._numbers[text]


def row_json(entry: Entry, words: Words, page: int = 0) -> list[Any]:
    """What the list needs of a record, which is in the file of this number."""
    raw = entry.raw
    draft, (id_, source, task) = Draft.of(raw), labels(raw)
    return [
        cut(draft.question, MAX_LINE),
        cut(" ".join(without_tags(draft.answer).split()), MAX_LINE),
        words.number(entry.file),
        entry.row,
        cut(id_ or "", 80),
        words.number(source or "no source"),
        words.number(task or "no task"),
        words.number(str(entry.rejection.reason) if entry.rejection else KEPT),
        page,
    ]


def record_json(collection: Collection, entry: Entry, clip: Clip) -> dict[str, Any]:
    """Everything about a record as it is in its file."""
    raw = entry.raw
    return shown_json(collection, entry, raw, Draft.of(raw), entry.rejection, clip)


def shown_json(
    collection: Collection,
    entry: Entry,
    raw: Any,
    draft: Draft,
    rejection: Rejection | None,
    clip: Clip,
) -> dict[str, Any]:
    """A record with the texts and boxes of a draft: the same for what is in the file and for a correction."""
    id_, source, task = labels(raw)
    media = media_of(raw)
    facts = collection.facts(media) if media else None
    evidence = evidence_json(
        format_completion(cut(draft.reasoning or ""), cut(draft.answer)), NORMALISED, clip.size
    )
    del evidence["reasoning"]  # `shown` has it
    return {
        "number": entry.number,
        "file": entry.file,
        "split": entry.split,
        "row": entry.row,
        "id": cut(id_ or "", 200),
        "source": source,
        "task": task,
        "media": clip.media,
        "missing": (facts.detail if facts and facts.problem else "") or clip.missing,
        "question": cut(draft.question),
        "evidence": evidence,
        "key": {"title": "key items", "spans": [], "boxes": _key_boxes(draft)},
        "moments": _moments(draft),
        "texts": {"reasoning": cut(draft.reasoning or ""), "answer": cut(draft.answer)},
        "problem": _problem_json(raw, draft, rejection, facts),
        "lines": written(raw),
    }


def _problem_json(
    raw: Any, draft: Draft, rejection: Rejection | None, facts: MediaFacts | None
) -> dict[str, Any] | None:
    if rejection is None:
        return None
    return {
        "reason": str(rejection.reason),
        "field": rejection.field,
        "detail": cut(rejection.detail, 500),
        "picture": picture(raw, draft, rejection, facts),
    }


def _key_boxes(draft: Draft) -> list[dict[str, Any]]:
    """The key items as the player draws what is true: per object and moment."""
    times = {frame.idx: frame.time_s for frame in draft.key_frames}
    return [
        {"time_s": times[idx], "name": cut(name, 100), "boxes": [[round(v, 4) for v in box] for box in boxes]}
        for idx, items in draft.key_items.items()
        if idx in times
        for name, boxes in items.items()
    ]


def _moments(draft: Draft) -> list[dict[str, Any]]:
    """The moments that the record is about, in order of time: key frames, and what its texts cite besides."""
    found: dict[float, dict[str, Any]] = {}

    def moment(time_s: float, what: str) -> dict[str, Any]:
        near = next((one for at, one in found.items() if abs(at - time_s) < SAME_TIME_S), None)
        return near or found.setdefault(time_s, {"time_s": time_s, "what": what, "boxes": []})

    for frame in draft.key_frames:
        moment(frame.time_s, f"key frame {frame.idx}")
    for time_s, what in zip(parse_span(draft.answer) or (), ("answer begins", "answer ends"), strict=False):
        moment(time_s, what)
    for time_s in parse_completion(f"<think>{draft.reasoning or ''}</think>").times_s:
        moment(time_s, "cited")
    for mark in marks(draft):
        if mark.time_s is None or mark.follows:
            continue
        box = {"name": cut(mark.name, 100), "box": [round(value, 4) for value in mark.box]}
        kind: Mapping[str, Any] = {"key": mark.at["in"] == "key_items"}
        moment(mark.time_s, "cited")["boxes"].append({**box, **kind})
    return [found[time_s] for time_s in sorted(found)]
