"""The parts of a row that a person corrects, and the corrections, each a function to a new draft.

    draft = Draft.of(raw)
    draft = change(draft, {"do": "move_box", "at": {"in": "key_items", "idx": 1, "name": "cup", "box": 0},
                           "to": [0.1, 0.2, 0.4, 0.6]})
    row = applied(raw, draft)

A draft's boxes are normalised and its times are seconds, whatever the file writes; `applied` changes only the
fields that differ. Reasoning and answer cite what the key items say: a citation that is equal to a key item
moves with it, so that both stay one claim.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from openo3.annotations import rows, sources, stgr
from openo3.annotations.rejections import Reason, RowError
from openo3.core.answers import OPTION, option_of
from openo3.core.evidence import (
    CLAIM,
    Claim,
    convert_boxes,
    format_claim,
    format_span,
    format_time,
    parse_claims,
)
from openo3.core.geometry import NORMALISED, BoxSpace
from openo3.core.schema import Box, KeyFrame, Task

SAME_BOX = 0.006
"""Coordinates of one box in two places differ by less: texts are rounded to two decimals."""

SAME_TIME_S = 0.051
"""Likewise for times, rounded to one decimal."""

MOST_BOXES, MOST_FRAMES = 500, 500
_DECIMALS, _TIME_DECIMALS = 4, 3
_TIME = re.compile(r"<t>([0-9.]{1,32})</t>s")

Items = Mapping[int, Mapping[str, tuple[Box, ...]]]


@dataclass(frozen=True)
class Draft:
    """`reasoning` is None in rows without it. What the row has in no readable form is empty here."""

    question: str = ""
    answer: str = ""
    reasoning: str | None = None
    key_frames: tuple[KeyFrame, ...] = ()
    key_items: Items = field(default_factory=dict)

    @classmethod
    def of(cls, raw: Any) -> Draft:
        """As much of an untrusted row as can be read."""
        if not isinstance(raw, Mapping):
            return cls()
        task, space = _task(raw), _space(raw)
        return cls(
            question=_text(raw.get("question")),
            answer=_answer(raw, task, space),
            reasoning=convert_boxes(text.strip(), space or NORMALISED, NORMALISED)
            if (text := _text(raw.get("reasoning_process")))
            else None,
            key_frames=_readable(lambda: stgr.key_frames(raw), ()),
            key_items=_readable(lambda: stgr.key_items(raw), {}),
        )

    @classmethod
    def from_json(cls, value: Any) -> Draft:
        """A draft that a page sends. Raises `RowError` for what is none."""
        given = rows.mapping(value, "draft")
        frames = rows.listed(given.get("key_frames"), "key_frames")
        if len(frames) > MOST_FRAMES:
            raise RowError(Reason.TOO_LONG, "key_frames", f"at most {MOST_FRAMES}")
        draft = cls(
            question=rows.check_text(_given_text(given, "question"), "question"),
            answer=rows.check_text(_given_text(given, "answer"), "answer"),
            reasoning=None
            if given.get("reasoning") is None
            else rows.check_text(_given_text(given, "reasoning"), "reasoning_process"),
            key_frames=stgr.key_frames({"key_frames": [_frame(one) for one in frames]}),
            key_items=stgr.key_items({"key_items": given.get("key_items")}),
        )
        if sum(1 for _ in marks(draft)) > MOST_BOXES:
            raise RowError(Reason.TOO_LONG, "key_items", f"at most {MOST_BOXES} boxes")
        return draft

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {
            "question": self.question,
            "answer": self.answer,
            "reasoning": self.reasoning,
            "key_frames": [{"idx": frame.idx, "time_s": frame.time_s} for frame in self.key_frames],
            "key_items": _items_json(self.key_items),
        }


@dataclass(frozen=True)
class Mark:
    """A box of a draft and where it stands: `at` names it in a correction.

    `follows`: a citation that is equal to a key item, and moves with it.
    """

    at: Mapping[str, Any]
    name: str
    time_s: float | None
    box: Box
    follows: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def marks(draft: Draft) -> Iterator[Mark]:
    """Every box of a draft: those of the key items, then those of claims in both texts."""
    times = {frame.idx: frame.time_s for frame in draft.key_frames}
    for idx, items in draft.key_items.items():
        for name, boxes in items.items():
            for number, box in enumerate(boxes):
                at = {"in": "key_items", "idx": idx, "name": name, "box": number}
                yield Mark(at, name, times.get(idx), box)
    for where in ("reasoning", "answer"):
        for number, claim in enumerate(parse_claims(getattr(draft, where) or "")):
            for place, box in enumerate(claim.boxes):
                at = {"in": where, "claim": number, "box": place}
                yield Mark(at, claim.name, claim.time_s, box, _is_item(draft, claim, box))


def change(draft: Draft, asked: Any) -> Draft:
    """The draft after one correction, as a page asks for it.

    Raises `RowError` for a correction that there is not, or that is about nothing in the draft.
    """
    asked = rows.mapping(asked, "change")
    name = rows.text(asked, "do")
    if name not in CHANGES:
        raise RowError(Reason.WRONG_TYPE, "change.do", f"{rows.shown(name)} is none of {', '.join(CHANGES)}")
    return CHANGES[name](draft, asked)


def applied(raw: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    """The row with what differs in the draft, written as the file writes it.

    Raises `RowError` if the row does not tell in which unit its boxes are.
    """
    before, row = Draft.of(raw), dict(raw)
    row.pop("rejected", None)
    if draft.question != before.question:
        row["question"] = draft.question
    if draft.answer != before.answer:
        row["answer"] = convert_boxes(draft.answer, NORMALISED, _known_space(raw))
    if (draft.reasoning or "") != (before.reasoning or ""):
        row["reasoning_process"] = convert_boxes(draft.reasoning or "", NORMALISED, _known_space(raw))
    if draft.to_json()["key_frames"] != before.to_json()["key_frames"]:
        row["key_frames"] = _raw_frames(raw, before, draft)
    if _items_json(draft.key_items) != _items_json(before.key_items):
        row["key_items"] = _items_json(draft.key_items)
    return row


def differences(before: Draft, after: Draft) -> list[str]:
    """What changed from one draft to another, in sentences."""
    said = []
    for name, title in (("question", "question"), ("answer", "answer"), ("reasoning", "reasoning")):
        old, new = getattr(before, name) or "", getattr(after, name) or ""
        if old != new:
            said.append(f"{title}: {_short(old, new)} became {_short(new, old)}")
    old_times = {frame.idx: frame.time_s for frame in before.key_frames}
    new_times = {frame.idx: frame.time_s for frame in after.key_frames}
    for idx in sorted(old_times.keys() | new_times.keys()):
        old, new = old_times.get(idx), new_times.get(idx)
        if old is None:
            said.append(f"key frame {idx} was added at {new:g} s")
        elif new is None:
            said.append(f"key frame {idx} at {old:g} s was removed")
        elif old != new:
            said.append(f"key frame {idx} moved from {old:g} s to {new:g} s")
    for idx in sorted(before.key_items.keys() | after.key_items.keys()):
        old, new = before.key_items.get(idx, {}), after.key_items.get(idx, {})
        for name in dict.fromkeys((*old, *new)):
            if old.get(name) != new.get(name):
                verb = "was added" if name not in old else "was removed" if name not in new else "changed"
                said.append(f"the box of {name!r} at key frame {idx} {verb}")
    return said


def _move_box(draft: Draft, asked: Mapping[str, Any]) -> Draft:
    box = _rounded(rows.numbers(asked.get("to"), "change.to", 4))
    mark = _mark(draft, asked.get("at"))

    def moved(old: tuple[Box, ...]) -> tuple[Box, ...]:
        return tuple(box if _same_box(one, mark.box) else one for one in old)

    return _at(draft, mark, moved)


def _remove_box(draft: Draft, asked: Mapping[str, Any]) -> Draft:
    mark = _mark(draft, asked.get("at"))
    if mark.at["in"] == "key_items":
        idx, name = mark.at["idx"], mark.at["name"]
        kept = tuple(one for k, one in enumerate(draft.key_items[idx][name]) if k != mark.at["box"])
        return _with_items(draft, idx, {**draft.key_items[idx], name: kept})

    def without(claim: Claim) -> str:
        kept = tuple(one for k, one in enumerate(claim.boxes) if k != mark.at["box"])
        return format_claim(claim.name, kept, claim.time_s) if kept else claim.name

    return _rewritten(
        draft, mark.at["in"], lambda n, claim: without(claim) if n == mark.at["claim"] else None
    )


def _add_box(draft: Draft, asked: Mapping[str, Any]) -> Draft:
    """Into the key frame `idx`, or into a new one at `time_s`."""
    name = rows.text(asked, "name").strip()
    if not name or "<" in name:
        raise RowError(Reason.WRONG_TYPE, "change.name", "expected the name of an object")
    box = _rounded(rows.numbers(asked.get("box"), "change.box", 4))
    if asked.get("idx") is None:
        draft = _add_frame(draft, asked)
        idx = max(frame.idx for frame in draft.key_frames)
    else:
        idx = _frame_idx(draft, asked)
    items = draft.key_items.get(idx, {})
    return _with_items(draft, idx, {**items, name: (*items.get(name, ()), box)})


def _rename(draft: Draft, asked: Mapping[str, Any]) -> Draft:
    """The object of a box, with all its boxes at this moment."""
    name = rows.text(asked, "to").strip()
    if not name or "<" in name:
        raise RowError(Reason.WRONG_TYPE, "change.to", "expected the name of an object")
    mark = _mark(draft, asked.get("at"))
    if mark.at["in"] == "key_items":
        idx, old = mark.at["idx"], mark.at["name"]
        items: dict[str, tuple[Box, ...]] = {}
        for each, boxes in draft.key_items[idx].items():
            kept = name if each == old else each
            items[kept] = (*items.get(kept, ()), *boxes)
        cited = draft.key_items[idx][old]
        draft = _with_items(draft, idx, items)

        def renamed(_: int, claim: Claim) -> str | None:
            same = _about(claim, old, mark.time_s) and any(
                _same_box(a, b) for a in claim.boxes for b in cited
            )
            return format_claim(name, claim.boxes, claim.time_s) if same else None

        return _rewritten(_rewritten(draft, "reasoning", renamed), "answer", renamed)
    return _rewritten(
        draft,
        mark.at["in"],
        lambda n, claim: format_claim(name, claim.boxes, claim.time_s) if n == mark.at["claim"] else None,
    )


def _set_text(draft: Draft, asked: Mapping[str, Any]) -> Draft:
    where, text = rows.text(asked, "in"), asked.get("to")
    if where not in ("question", "answer", "reasoning") or not isinstance(text, str):
        raise RowError(Reason.WRONG_TYPE, "change.in", "expected question, answer or reasoning, and a text")
    return replace(draft, **{where: rows.check_text(text, where)})


def _set_span(draft: Draft, asked: Mapping[str, Any]) -> Draft:
    """The span of a temporal answer; the option stays."""
    start, end = sorted(_time(asked, name) for name in ("start_s", "end_s"))
    span, option = format_span(start, end), option_of(draft.answer)
    return replace(draft, answer=f"{span}\n{OPTION} {option}" if option else span)


def _set_time(draft: Draft, asked: Mapping[str, Any]) -> Draft:
    """Of a key frame; the texts that cite its moment follow."""
    idx, time_s = _frame_idx(draft, asked), _time(asked, "time_s")
    old_s = next(frame.time_s for frame in draft.key_frames if frame.idx == idx)
    moved = [replace(frame, time_s=time_s) if frame.idx == idx else frame for frame in draft.key_frames]
    others = {frame.time_s for frame in draft.key_frames if frame.idx != idx}
    draft = replace(draft, key_frames=tuple(sorted(moved, key=lambda frame: frame.time_s)))
    if any(abs(other - old_s) < SAME_TIME_S for other in others):
        return draft  # the texts may mean the other one

    def again(found: re.Match[str]) -> str:
        try:
            same = abs(float(found[1]) - old_s) < SAME_TIME_S
        except ValueError:
            return found[0]
        return f"{format_time(time_s)}" if same else found[0]

    return replace(draft, reasoning=draft.reasoning and _TIME.sub(again, draft.reasoning))


def _add_frame(draft: Draft, asked: Mapping[str, Any]) -> Draft:
    time_s = _time(asked, "time_s")
    idx = max((frame.idx for frame in draft.key_frames), default=0) + 1
    frames = (*draft.key_frames, KeyFrame(idx, time_s))
    return replace(draft, key_frames=tuple(sorted(frames, key=lambda frame: frame.time_s)))


def _remove_frame(draft: Draft, asked: Mapping[str, Any]) -> Draft:
    idx = _frame_idx(draft, asked)
    items = {key: value for key, value in draft.key_items.items() if key != idx}
    frames = tuple(frame for frame in draft.key_frames if frame.idx != idx)
    return replace(draft, key_frames=frames, key_items=items)


CHANGES: Mapping[str, Callable[[Draft, Mapping[str, Any]], Draft]] = {
    "move_box": _move_box,
    "remove_box": _remove_box,
    "add_box": _add_box,
    "rename": _rename,
    "set_text": _set_text,
    "set_span": _set_span,
    "set_time": _set_time,
    "add_frame": _add_frame,
    "remove_frame": _remove_frame,
}
"""What a page may ask for."""


def _mark(draft: Draft, at: Any) -> Mark:
    found = next((mark for mark in marks(draft) if mark.at == at), None)
    if found is None:
        raise RowError(Reason.WRONG_TYPE, "change.at", f"there is no box {rows.shown(at)}")
    return found


def _at(draft: Draft, mark: Mark, moved: Callable[[tuple[Box, ...]], tuple[Box, ...]]) -> Draft:
    """The draft with the boxes of one mark changed, and with the citations that are equal to a key item."""
    where = mark.at["in"]
    if where != "key_items":
        return _rewritten(
            draft,
            where,
            lambda n, claim: (
                format_claim(claim.name, moved(claim.boxes), claim.time_s) if n == mark.at["claim"] else None
            ),
        )
    idx, name = mark.at["idx"], mark.at["name"]
    boxes = draft.key_items[idx][name]
    one = mark.at["box"]
    changed = (*boxes[:one], *moved((boxes[one],)), *boxes[one + 1 :])
    draft = _with_items(draft, idx, {**draft.key_items[idx], name: changed})

    def following(_: int, claim: Claim) -> str | None:
        same = _about(claim, name, mark.time_s) and any(_same_box(box, mark.box) for box in claim.boxes)
        return format_claim(claim.name, moved(claim.boxes), claim.time_s) if same else None

    return _rewritten(_rewritten(draft, "reasoning", following), "answer", following)


def _rewritten(draft: Draft, where: str, write: Callable[[int, Claim], str | None]) -> Draft:
    """A text with some of its claims written anew, by their number; None leaves one as it is."""
    text = getattr(draft, where)
    if not text:
        return draft
    number = -1

    def again(found: re.Match[str]) -> str:
        nonlocal number
        claim = next(iter(parse_claims(found[0])), None)
        if claim is None:
            return found[0]
        number += 1
        return found[0] if (new := write(number, claim)) is None else new

    return replace(draft, **{where: CLAIM.sub(again, text)})


def _with_items(draft: Draft, idx: int, items: Mapping[str, tuple[Box, ...]]) -> Draft:
    kept = {name: boxes for name, boxes in items.items() if boxes}
    every = {**draft.key_items, idx: kept}
    return replace(draft, key_items={key: value for key, value in every.items() if value})


def _about(claim: Claim, name: str, time_s: float | None) -> bool:
    if claim.name.strip().lower() != name.strip().lower():
        return False
    return claim.time_s is None or time_s is None or abs(claim.time_s - time_s) < SAME_TIME_S


def _is_item(draft: Draft, claim: Claim, box: Box) -> bool:
    times = {frame.idx: frame.time_s for frame in draft.key_frames}
    return any(
        _about(claim, name, times.get(idx)) and any(_same_box(box, each) for each in boxes)
        for idx, items in draft.key_items.items()
        for name, boxes in items.items()
    )


def _same_box(a: Box, b: Box) -> bool:
    return all(abs(x - y) < SAME_BOX for x, y in zip(a, b, strict=True))


def _frame_idx(draft: Draft, asked: Mapping[str, Any]) -> int:
    idx = rows.integer(asked.get("idx"), "change.idx")
    if all(frame.idx != idx for frame in draft.key_frames):
        raise RowError(Reason.KEY_UNKNOWN, "change.idx", f"there is no key frame {idx}")
    return idx


def _time(asked: Mapping[str, Any], name: str) -> float:
    return round(max(0.0, rows.number(asked.get(name), f"change.{name}")), _TIME_DECIMALS)


def _rounded(box: Box) -> Box:
    """With its corners in order: a hand may draw it from any corner."""
    x1, y1, x2, y2 = (round(value, _DECIMALS) for value in box)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _raw_frames(raw: Mapping[str, Any], before: Draft, draft: Draft) -> list[dict[str, Any]]:
    """Key frames as the file has them. The picture of one that moved shows another moment: it is dropped."""
    old = {frame.idx: frame.time_s for frame in before.key_frames}
    listed = raw.get("key_frames")
    given = {one["idx"]: one for one in listed or () if isinstance(one, Mapping) and "idx" in one}
    found = []
    for frame in draft.key_frames:
        one = dict(given.get(frame.idx, {"idx": frame.idx}))
        if old.get(frame.idx) != frame.time_s:
            one["time"] = frame.time_s
            one.pop("path", None)
        found.append(one)
    return found


def _items_json(items: Items) -> dict[str, dict[str, list[list[float]]]]:
    return {
        str(idx): {name: [list(box) for box in boxes] for name, boxes in named.items()}
        for idx, named in items.items()
    }


def _frame(value: Any) -> dict[str, Any]:
    frame = rows.mapping(value, "key_frames")
    return {"idx": frame.get("idx"), "time": frame.get("time_s")}


def _given_text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, name, f"expected text, found {rows.shown(value)}")
    return value


def _task(raw: Mapping[str, Any]) -> Task | None:
    return _readable(lambda: stgr.task(raw), None)


def _space(raw: Mapping[str, Any]) -> BoxSpace | None:
    return _readable(lambda: _known_space(raw), None)


def _known_space(raw: Mapping[str, Any]) -> BoxSpace:
    return sources.get(rows.text(raw, "source")).box_space(stgr.task(raw), stgr.image_size(raw))


def _answer(raw: Mapping[str, Any], task: Task | None, space: BoxSpace | None) -> str:
    text = _text(raw.get("answer"))
    if task is None or space is None or not text:
        return text
    return _readable(lambda: stgr.answer(raw, task, space), text)


def _readable(read: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return read()
    except RowError:
        return otherwise


def _text(value: Any) -> str:
    """A text without what no page can show."""
    return value[: rows.MAX_CHARS].encode(errors="replace").decode() if isinstance(value, str) else ""


def _short(text: str, other: str) -> str:
    """What of a text differs from the other one, in quotation marks."""
    start = next((k for k, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), None)
    begin = max(0, (min(len(text), len(other)) if start is None else start) - 20)
    piece = text[begin : begin + 70]
    return f"“{'…' if begin else ''}{piece}{'…' if begin + 70 < len(text) else ''}”"
