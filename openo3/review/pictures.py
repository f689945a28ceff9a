"""What is wrong with a rejected record, as something to draw.

picture(raw, draft, rejection, facts) ->
    {"kind": "boxes", "size": [640, 360],
     "boxes": [{"name": "cup", "time_s": 2.5, "box": [0.7, 0.2, 1.4, 0.6], "read_as": null}]}

boxes    boxes that do not fit their frame; `read_as` is where one would be in pixels or thousandths
times    a line of the clip's length with moments and spans on it, the wrong ones marked
text     a text in pieces, those marked that the evidence grammar does not know
file     a file that is not there, or cannot be read
fields   the row's fields, the wrong one marked
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from openo3.annotations.rejections import Reason, Rejection
from openo3.core.evidence import parse_boxes, parse_completion, parse_span
from openo3.core.geometry import RELATIVE_1000, pixels
from openo3.core.schema import Box
from openo3.gallery.paged import cut
from openo3.review.edits import Draft
from openo3.validation.media import MediaFacts
from openo3.validation.placed import placed
from openo3.validation.suites import ROUNDING

_MOST = 20
"""Boxes or times that are drawn."""

_LONGEST_FIELD = 2_000
_MARKUP = re.compile(r"<(/?)(obj|box|t|think|answer)>")
_KNOWN = re.compile(r"<obj>[^<]+</obj>|<box>[^<]*</box>|<t>[^<]*</t>")
_ROW = re.compile(r"the id of row ([0-9]+)")


def picture(raw: Any, draft: Draft, rejection: Rejection, facts: MediaFacts | None) -> dict[str, Any]:
    """What to draw for the rejection of `raw`, whose readable parts are in `draft`."""
    field = rejection.field.partition(".")[0]
    drawn: dict[str, Any] | None = None
    match rejection.reason:
        case Reason.BOX_OUTSIDE:
            drawn = _boxes(draft, field, facts, lambda box: min(box) < -ROUNDING or max(box) > 1 + ROUNDING)
        case Reason.BOX_INVERTED:
            drawn = _boxes(draft, field, facts, lambda box: min(_sides(box)) < 0)
        case Reason.BOX_EMPTY:
            drawn = _boxes(draft, field, facts, lambda box: min(_sides(box)) == 0)
        case Reason.BOX_SPACE if field == "answer":
            drawn = _boxes(draft, "answer", facts, lambda box: True)
        case Reason.KEY_TIME | Reason.KEY_ORDER | Reason.EVIDENCE_TIME | Reason.SPAN_TIME | Reason.SPAN_EMPTY:
            drawn = _times(draft, rejection.reason, field, facts)
        case Reason.BAD_EVIDENCE:
            text = draft.answer if field == "answer" else draft.reasoning or ""
            drawn = {"kind": "text", "field": field, "pieces": marked(cut(text))}
        case (
            Reason.MEDIA_MISSING
            | Reason.MEDIA_UNREADABLE
            | Reason.UNSAFE_PATH
            | Reason.KEY_IMAGE_MISSING
            | Reason.KEY_IMAGE_UNREADABLE
            | Reason.NO_SUCH_MEDIA
        ):
            drawn = {"kind": "file", "path": cut(_path(raw, rejection.field), 300)}
    return drawn or _fields(raw, rejection)


def marked(text: str) -> list[list[Any]]:
    """A text as `[piece, whether it is no evidence]`, in order.

    >>> marked("a <obj>cup</obj><box>[1,2]</box> b</t>")
    [['a <obj>cup</obj>', False], ['<box>[1,2]</box>', True], [' b', False], ['</t>', True]]
    """
    pieces: list[list[Any]] = []

    def add(piece: str, wrong: bool) -> None:
        if piece and pieces and pieces[-1][1] == wrong and not wrong:
            pieces[-1][0] += piece
        elif piece:
            pieces.append([piece, wrong])

    begin = 0
    while found := _MARKUP.search(text, begin):
        add(text[begin : found.start()], False)
        whole = _KNOWN.match(text, found.start())
        if whole is None:
            add(found[0], True)
            begin = found.end()
            continue
        timed = f"{whole[0]}s" if text.startswith("s", whole.end()) else whole[0]
        good = whole[0].startswith("<obj>") or bool(parse_boxes(whole[0]))
        good = good or bool(parse_completion(f"<think>{timed}</think>").times_s)
        add(whole[0], not good)
        begin = whole.end()
    add(text[begin:], False)
    return pieces


def _sides(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]


def _boxes(
    draft: Draft, field: str, facts: MediaFacts | None, is_wrong: Callable[[Box], bool]
) -> dict[str, Any] | None:
    size = facts.size if facts else None
    wrong = [
        {"name": cut(name, 100), "time_s": time_s, "box": list(box), "read_as": _read_as(box, size)}
        for name, time_s, box in placed(draft, field)
        if is_wrong(box)
    ]
    return {"kind": "boxes", "size": list(size or (16, 9)), "boxes": wrong[:_MOST]} if wrong else None


def _read_as(box: Box, size: tuple[int, int] | None) -> dict[str, Any] | None:
    """Where a box that is far outside of its frame would be if its numbers were another unit."""
    if max(box) <= 2 or min(box) < 0:
        return None
    spaces = [(f"pixels of {size[0]} x {size[1]}", pixels(size))] if size else []
    for words, space in [*spaces, ("thousandths of the frame", RELATIVE_1000)]:
        inside = space.to_normalised(box)
        if max(inside) <= 1 + ROUNDING and min(_sides(inside)) > 0:
            return {"words": words, "box": [round(value, 4) for value in inside]}
    return None


def _times(draft: Draft, reason: Reason, field: str, facts: MediaFacts | None) -> dict[str, Any] | None:
    """Moments and spans on the line of the clip's length; without a length, to the last moment."""
    end_s = facts.duration_s if facts else None

    def outside(time_s: float) -> bool:
        return time_s < 0 or (end_s is not None and time_s > end_s)

    marks, spans = [], []
    if reason in (Reason.KEY_TIME, Reason.KEY_ORDER):
        before = float("-inf")
        for frame in draft.key_frames:
            wrong = frame.time_s < before if reason == Reason.KEY_ORDER else outside(frame.time_s)
            marks.append({"label": f"key frame {frame.idx}", "time_s": frame.time_s, "wrong": wrong})
            before = max(before, frame.time_s)
    elif reason == Reason.EVIDENCE_TIME:
        text = draft.answer if field == "answer" else draft.reasoning or ""
        for time_s in dict.fromkeys(parse_completion(f"<think>{text}</think>").times_s):
            marks.append({"label": "cited", "time_s": time_s, "wrong": outside(time_s)})
    elif span := parse_span(draft.answer):
        spans.append({"label": "answer", "start_s": span[0], "end_s": span[1], "wrong": True})
    if not marks and not spans:
        return None
    kept = sorted(marks, key=lambda mark: not mark["wrong"])[:_MOST]
    return {"kind": "times", "duration_s": end_s, "marks": kept, "spans": spans}


def _path(raw: Any, field: str) -> str:
    if not isinstance(raw, Mapping):
        return ""
    if field.startswith("key_frames"):
        frames = raw.get("key_frames")
        named = [frame.get("path") for frame in frames or () if isinstance(frame, Mapping)]
        return ", ".join(str(path) for path in named if path)
    return str(raw.get(field) or raw.get("video_path") or raw.get("image_path") or "")


def _fields(raw: Any, rejection: Rejection) -> dict[str, Any]:
    """The row's fields, each a line of JSON; another row that the detail names."""
    wanted = rejection.field.partition(".")[0].partition("[")[0]
    wanted = {"size": "image_size"}.get(wanted, wanted)
    other = _ROW.search(rejection.detail)
    return {
        "kind": "fields",
        "lines": written(raw, wanted),
        "other_row": int(other[1]) if other else None,
    }


def written(raw: Any, wanted: str = "") -> list[list[Any]]:
    """A row as `[line of JSON, whether it is the wanted field]`; an absent wanted field is a line too."""
    if not isinstance(raw, Mapping):
        return [[_json(raw), True]]
    lines = [[f"{_json(name)}: {_json(value)}", name == wanted] for name, value in list(raw.items())[:100]]
    if wanted and wanted not in raw and wanted not in ("row", "id"):
        lines.append([f"{_json(wanted)}: (not there)", True])
    return lines


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        text = "(lists within lists, too deep to show)"
    return cut(text.encode(errors="replace").decode(), _LONGEST_FIELD)
