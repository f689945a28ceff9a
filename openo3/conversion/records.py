"""Clips as STGR records: which moments become key frames, and where questions and answers come from.

A clip whose file has a question becomes one record about all its objects. Of any other clip, each object
becomes a record of its own, with a question and an answer by template:

    Wanted(task=Task.TEMPORAL)                 "When is the ball in view?"   From <t>1.0</t>s to <t>3.5</t>s
    Wanted(question="Where is the {object}?")  "Where is the ball?"          from the upper left to the centre

Key frames are those that were drawn, evenly thinned out to `most`; with `every_s` also moments in between.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from openo3.conversion.tracks import MAX_KEYS, Clip, ConversionError, NamedSpan, Timeline, Track
from openo3.core.evidence import format_claim, format_span, parse_claims
from openo3.core.geometry import pixels
from openo3.core.schema import STGR_TASKS, Box, Task

FIELDS = ("object", "place", "first", "last")
"""What a template may name: the object, where it is in words, and the first and last second at which it is
seen."""

QUESTIONS = {Task.VISUAL: "Where is the {object}?", Task.TEMPORAL: "When is the {object} in view?"}
"""The questions of tasks whose answers follow from boxes and times alone."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What records are made of clips without questions.

    `task` is that of records about videos. `question` and `answer` are templates; without a question,
    temporal records and those about images have the one of `QUESTIONS`, all others have none. Without an
    answer it is the span or the box, and for other tasks `{place}`. `reasoning`: also one that cites the key
    items in order.

    Raises `ConversionError` for a template that names something else than `FIELDS`.
    """

    task: Task = Task.TEMPORAL_SPATIAL
    question: str | None = None
    answer: str | None = None
    every_s: float | None = None
    most: int = 8
    reasoning: bool = False
    source: str = "local"

    def __post_init__(self) -> None:
        for option, template in (("--question", self.question), ("--answer", self.answer)):
            try:
                parts = list(string.Formatter().parse(template or ""))
            except ValueError as error:
                raise ConversionError(f"{option} {template!r}: {error}") from None
            named = [
                name + (f"!{how}" if how else "") + (f":{form}" if form else "")
                for _, name, form, how in parts
                if name is not None
            ]
            if unknown := [name for name in named if name not in FIELDS]:
                known = ", ".join(f"{{{name}}}" for name in FIELDS)
                raise ConversionError(f"{option}: {{{unknown[0]}}} is unknown; there are {known}")


def rows(clips: Iterable[Clip], wanted: Wanted, notes: Counter[str]) -> list[Row]:
    """The records of all clips, each with an id of its own."""
    found: list[Row] = []
    used: dict[str, int] = {}
    for clip in clips:
        for row in _of_clip(clip, wanted, notes):
            row["id"] = _unique(row["id"], used)
            found.append(row)
    return found


def _of_clip(clip: Clip, wanted: Wanted, notes: Counter[str]) -> list[Row]:
    if clip.record.get("question") or clip.record.get("id"):
        return [_with_question(clip, wanted, notes)]
    objects: dict[str, list[Track]] = {}
    for each in clip.tracks:
        objects.setdefault(each.name, []).append(each)
    if clip.is_image:
        made = [_of_picture(clip, name, tracks, wanted, notes) for name, tracks in objects.items()]
    elif wanted.task is Task.TEMPORAL:
        spans = [
            *clip.spans,
            *(each for name in objects for each in _spans(clip, name, objects[name], notes)),
        ]
        made = [_of_span(clip, each, wanted) for each in spans]
    else:
        notes["parts of videos without a box: --task temporal makes records of them"] += len(clip.spans)
        made = [_of_object(clip, name, tracks, wanted) for name, tracks in objects.items()]
    return [row for row in made if row is not None]


def _row(clip: Clip, task: Task, name: str, question: str, answer: str, wanted: Wanted) -> Row:
    stem = PurePosixPath(clip.path).stem
    row: Row = {"id": f"{stem}-{_slug(name)}", "task": str(task), "source": wanted.source}
    row |= {"question": question, "answer": answer}
    kind = "image" if clip.is_image else "video"
    row[f"{kind}_path"] = clip.path.removeprefix(
        f"{kind}s/"
    )  # of a folder as `download.source: local` has it
    return row | {"image_size": list(clip.size) if clip.is_image else None, "key_frames": [], "key_items": {}}


def _of_object(clip: Clip, name: str, tracks: Sequence[Track], wanted: Wanted) -> Row | None:
    timeline = clip.timeline
    assert timeline is not None
    frames = _moments(tracks, timeline, wanted)
    if not frames:
        return None
    key_frames, key_items = _key_items(clip, frames, tracks)
    boxes = [box for items in key_items.values() for boxes in items.values() for box in boxes[:1]]
    words = {"object": name, "place": place_in_words(boxes[0], boxes[-1])}
    words |= {"first": f"{key_frames[0]['time']:g}", "last": f"{key_frames[-1]['time']:g}"}
    question = (wanted.question or "").format(**words)
    answer = (wanted.answer or ("{place}" if question else "")).format(**words)
    row = _row(clip, wanted.task, name, question, answer, wanted)
    return _reasoned(row | {"key_frames": key_frames, "key_items": key_items}, wanted)


def _of_span(clip: Clip, span: NamedSpan, wanted: Wanted) -> Row:
    words = {"object": span.name, "place": "", "first": f"{span.start_s:g}", "last": f"{span.end_s:g}"}
    question = (wanted.question or QUESTIONS[Task.TEMPORAL]).format(**words)
    answer = format_span(span.start_s, span.end_s)
    row = _row(clip, Task.TEMPORAL, span.name, question, answer, wanted)
    if wanted.reasoning:
        start, end = answer.removeprefix("From ").split(" to ")
        row["reasoning_process"] = f"The {span.name} comes into view at {start} and is last seen at {end}."
    return row


def _of_picture(
    clip: Clip, name: str, tracks: Sequence[Track], wanted: Wanted, notes: Counter[str]
) -> Row | None:
    if len(tracks) > 1:
        notes["objects that are several times in an image, left out: an answer has one box"] += 1
        return None
    box = tracks[0].keys[0].box
    words = {"object": name, "place": place_in_words(box, box), "first": "", "last": ""}
    question = (wanted.question or QUESTIONS[Task.VISUAL]).format(**words)
    answer = _boxed(tracks, clip.size)
    row = _row(clip, Task.VISUAL, name, question, answer, wanted)
    if wanted.reasoning:
        row["reasoning_process"] = f"I see the {answer}."
    return row


def _with_question(clip: Clip, wanted: Wanted, notes: Counter[str]) -> Row:
    """One record about all objects. What a record was before it was edited stays, except for what was
    edited."""
    before = clip.record
    stem = PurePosixPath(clip.path).stem
    task = Task.VISUAL if clip.is_image else _task(before, wanted)
    row = _row(clip, task, stem, before.get("question", ""), before.get("answer", ""), wanted)
    row |= {
        "id": stem,
        **{name: value for name, value in before.items() if name not in ("key_frames", "key_items")},
    }
    row["task"] = str(task)
    if clip.timeline is not None:
        frames = _moments(clip.tracks, clip.timeline, wanted, all_drawn="key_frames" in before)
        row["key_frames"], row["key_items"] = _key_items(
            clip, frames, clip.tracks, before.get("key_frames") or ()
        )
    else:
        row |= {"key_frames": before.get("key_frames") or [], "key_items": before.get("key_items") or {}}
        size = row["image_size"] or clip.size  # the file here may be a copy of another size
        if clip.tracks and not _says(row["answer"], clip.tracks, size):
            row["answer"] = _boxed(clip.tracks, size)
    if not row["answer"] and task is Task.TEMPORAL and len(clip.spans) == 1:
        row["answer"] = format_span(clip.spans[0].start_s, clip.spans[0].end_s)
    elif clip.spans:
        notes["parts of videos beside a question, left out"] += len(clip.spans)
    return row if "reasoning_process" in row else _reasoned(row, wanted)


def _task(record: Mapping[str, Any], wanted: Wanted) -> Task:
    try:
        return Task(str(record.get("task") or wanted.task))
    except ValueError:
        known = ", ".join(map(str, STGR_TASKS))
        raise ConversionError(
            f"{record.get('id', 'record')}: task {record.get('task')!r}; there are {known}"
        ) from None


def _boxed(tracks: Sequence[Track], size: Sequence[int]) -> str:
    """The answer about an image of this size: its objects with boxes in pixels."""
    space = pixels((size[0], size[1]))
    names: dict[str, list[Box]] = {}
    for each in tracks:
        names.setdefault(each.name, []).append(space.from_normalised(each.keys[0].box))
    return " ".join(format_claim(name, boxes) for name, boxes in names.items())


def _says(answer: str, tracks: Sequence[Track], size: Sequence[int]) -> bool:
    """Whether an answer has just these boxes, to the pixel."""
    space = pixels((size[0], size[1]))
    said = {
        (claim.name, space.from_normalised(box))
        for claim in parse_claims(answer, space)
        for box in claim.boxes
    }
    return said == {(each.name, space.from_normalised(each.keys[0].box)) for each in tracks}


def _moments(
    tracks: Sequence[Track], timeline: Timeline, wanted: Wanted, all_drawn: bool = False
) -> list[int]:
    """The frames that become key frames, in order; `all_drawn`: none of those that were drawn is left out."""
    drawn = sorted({key.frame for each in tracks for key in each.keys if key.shown and key.drawn})
    if not drawn:
        drawn = sorted({key.frame for each in tracks for key in each.keys if key.shown})
    frames = set(drawn)
    if wanted.every_s and drawn:
        last = max(key.frame for each in tracks for key in each.keys)
        first_s, last_s = timeline.time_s(drawn[0]), timeline.time_s(last)
        count = int((last_s - first_s) / wanted.every_s) + 1
        if count * len(tracks) > MAX_KEYS:
            raise ConversionError(f"--every {wanted.every_s:g}: {count:,} moments of one clip are too many")
        moments = (timeline.frame(first_s + number * wanted.every_s) for number in range(count))
        frames |= {frame for frame in moments if any(each.at(frame) for each in tracks)}
    ordered = sorted(frames)
    if all_drawn or len(ordered) <= wanted.most:
        return ordered
    if wanted.most == 1:
        return [ordered[len(ordered) // 2]]
    step = (len(ordered) - 1) / (wanted.most - 1)
    return [ordered[round(number * step)] for number in range(wanted.most)]


def _key_items(
    clip: Clip, frames: Sequence[int], tracks: Sequence[Track], before: Sequence[Mapping[str, Any]] = ()
) -> tuple[list[Row], Row]:
    """Key frames and the boxes of all objects there. A key frame that was there `before` stays as it was."""
    timeline = clip.timeline
    assert timeline is not None
    known = {timeline.frame(float(frame["time"])): frame for frame in reversed(before)}
    times_s = {key.frame: key.time_s for each in tracks for key in each.keys}
    free = max((int(frame["idx"]) for frame in before), default=0)
    key_frames: list[Row] = []
    key_items: Row = {}
    for frame in sorted({*frames, *(frame for frame in known if not _had_boxes(clip, known[frame]))}):
        if frame in known:
            key_frames.append(dict(known[frame]))
        else:
            free += 1
            key_frames.append({"idx": free, "time": round(times_s.get(frame, timeline.time_s(frame)), 6)})
        items: Row = {}
        for each in tracks:
            if (box := each.at(frame)) is not None:
                items.setdefault(each.name, []).append([round(side, 6) for side in box])
        if items:
            key_items[str(key_frames[-1]["idx"])] = items
    return key_frames, key_items


def _had_boxes(clip: Clip, frame: Mapping[str, Any]) -> bool:
    """Whether a key frame of the record had boxes; one without says when to look, and no tool can lose it."""
    items = clip.record.get("key_items") or {}
    return bool(items.get(str(frame["idx"])))


def _spans(clip: Clip, name: str, tracks: Sequence[Track], notes: Counter[str]) -> list[NamedSpan]:
    """When an object is in view, if that is one part of the video."""
    timeline = clip.timeline
    assert timeline is not None
    parts: list[tuple[float, float]] = []
    for each in tracks:
        following = [key.frame for key in each.keys[1:]]
        for key, after in zip(each.keys, [*following, None], strict=True):
            if not key.shown:
                continue
            until = key.frame + 1
            if key.continues:
                until = after if after is not None else (timeline.frames or key.frame + 1)
            parts.append((timeline.time_s(key.frame), timeline.time_s(until)))
    joined: list[tuple[float, float]] = []
    for start, end in sorted(parts):
        if joined and start <= joined[-1][1] + 1e-6:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    if len(joined) != 1:
        notes["objects that come into view several times, left out: an answer has one span"] += bool(joined)
        return []
    return [NamedSpan(name, round(joined[0][0], 6), round(joined[0][1], 6))]


def _reasoned(row: Row, wanted: Wanted) -> Row:
    """With `reasoning`, a sentence for each key frame that cites what is there."""
    if not wanted.reasoning:
        return row
    sentences = []
    for frame in row["key_frames"]:
        items = row["key_items"].get(str(frame["idx"]), {})
        claims = [format_claim(name, boxes, frame["time"]) for name, boxes in items.items()]
        if claims:
            sentences.append(f"The {' and the '.join(claims)} can be seen.")
    return row | {"reasoning_process": " ".join(sentences)}


def place_in_words(first: Box, last: Box) -> str:
    """Where a box is, in nine parts of the frame, and where it ends.

    >>> place_in_words((0.0, 0.0, 0.2, 0.2), (0.4, 0.4, 0.6, 0.6))
    'from the upper left to the centre'
    """
    start, end = _part(first), _part(last)
    return f"in {start}" if start == end else f"from {start} to {end}"


def _part(box: Box) -> str:
    column, row = (min(2, int(3 * (a + b) / 2)) for a, b in ((box[0], box[2]), (box[1], box[3])))
    vertical, horizontal = ("upper", "", "lower")[row], ("left", "", "right")[column]
    if not vertical and not horizontal:
        return "the centre"
    if not horizontal:
        return f"the {vertical} middle"
    return f"the {vertical} {horizontal}" if vertical else f"the middle {horizontal}"


def _slug(name: str) -> str:
    return (
        "-".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split()) or "object"
    )


def _unique(id: Any, used: dict[str, int]) -> str:
    """The id, with a number after it if another record has it; `used` has how often each was asked for."""
    name = str(id)
    while name in used:
        used[str(id)] += 1
        name = f"{id}-{used[str(id)]}"
    used[name] = 1
    return name
