"""Frames for the page: what rejected rows, bad files and accepted records look like.

    pictures = draw(validation, Path("data/validated"), Path("data/raw/media"))
    pictures.rejected       figures: the frame that a row is about, its boxes, what is wrong

There are few of them, so that decoding them takes seconds whatever the size of the data. A file that gives no
picture is passed over. `openo3 look` shows every record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup

from openo3.annotations.rejections import Reason, Rejection
from openo3.benchmarks.registry import BENCHMARKS
from openo3.core.schema import Box, Sample
from openo3.drawing.overlay import Mark, picture
from openo3.files.artifacts import read_json, read_jsonl
from openo3.media.thumbnail import Moment, Thumbnail, thumbnails
from openo3.validation.check import Validation
from openo3.validation.formats import FORMATS
from openo3.validation.page import FILENAMES, Pictures, spread
from openo3.validation.placed import placed
from openo3.validation.suites import ROUNDING

FILES, REJECTED, ACCEPTED = 6, 10, 8
"""How many pictures of each kind are decoded at most."""

_OF_EACH_FILE = 3
_LOOKED_AT, _TRIED = 500, 100
"""Accepted records of a file, and rejected rows, among which examples are chosen."""

_TRAINING = ("sft", "rl")
_BAD_FILE = (Reason.MEDIA_UNREADABLE, Reason.KEY_IMAGE_UNREADABLE)
_NO_FILE = (Reason.MEDIA_MISSING, Reason.KEY_IMAGE_MISSING, Reason.UNSAFE_PATH)
_MOST_BOXES, _LONGEST_NAME, _LONGEST_TEXT = 12, 24, 160


@dataclass(frozen=True)
class _Drawing:
    """A moment of a file below the media folder, and boxes on it."""

    media: str
    caption: str
    time_s: float = 0.0
    marks: tuple[Mark, ...] = ()


_Scene = tuple[float, list[tuple[str, Box]]]
"""A time in seconds, and the names and boxes (normalised) of what is placed in the frame there."""


def draw(validation: Validation, validated: Path, media: Path) -> Pictures:
    """At most `FILES`, `REJECTED` and `ACCEPTED` figures.

    `validated` holds what `validation` wrote, `media` the files that records name.
    """
    files = dict(_bad_files(validation))
    rejected = list(_rejected(validation))
    accepted = list(islice(_accepted(validation, validated), ACCEPTED))
    every = (*files.values(), *rejected, *accepted)
    moments = {each: Moment(media / each.media, each.time_s) for each in every}
    seen = thumbnails(moments.values())
    figures = {each: _figure(each, seen[moment]) for each, moment in moments.items() if moment in seen}
    return Pictures(
        accepted=[figures[each] for each in accepted if each in figures],
        rejected=[figures[each] for each in rejected if each in figures],
        files={detail: figures[each] for detail, each in files.items() if each in figures},
    )


def _figure(drawing: _Drawing, seen: Thumbnail) -> Markup:
    if seen.instead:  # another moment than the boxes are of
        drawing = replace(drawing, marks=(), caption=f"{drawing.caption} Shown: {seen.instead}".strip())
    alt = f"A frame of {drawing.media}. {drawing.caption}"
    return picture(seen.image(), drawing.marks, drawing.caption, alt)


def _bad_files(validation: Validation) -> Iterator[tuple[str, _Drawing]]:
    """The files that cost the most rows, by the detail of their rejections."""
    first: dict[str, tuple[str, Rejection]] = {}
    lost: Counter[str] = Counter()
    for name, rejected in validation.rejected.items():
        for each in rejected.values():
            if each.reason in _BAD_FILE:
                first.setdefault(each.detail, (name, each))
                lost[each.detail] += 1
    for detail, _ in lost.most_common(FILES):
        name, rejection = first[detail]
        [record] = validation.tables[name].records({rejection.row}).values()
        paths = [record["media"]]
        if rejection.reason == Reason.KEY_IMAGE_UNREADABLE:
            paths = [frame["path"] for frame in record["key_frames"] if frame["path"]]
        if path := next((path for path in paths if detail.startswith(path)), None):
            yield detail, _Drawing(path, "")


def _rejected(validation: Validation) -> Iterator[_Drawing]:
    """Some rows of every reason whose file can be opened."""
    shown = [
        each
        for name in _TRAINING
        if name in validation.tables
        for row, each in validation.rejected[name].items()
        if each.reason not in (*_BAD_FILE, *_NO_FILE) and row not in validation.tables[name].unreadable
    ]
    samples: dict[Rejection, Sample] = {}
    for name in _TRAINING:
        own = [each for each in spread(shown, _TRIED) if each.file == FILENAMES[name]]
        records = validation.tables[name].records({each.row for each in own}) if own else {}
        for each in own:
            sample = Sample.from_json(records[each.row])
            if validation.index[sample.media].problem is None:
                samples[each] = sample
    of_media = {sample.media: each for each, sample in reversed(samples.items())}
    # Different clips first
    chosen = spread([each for each in samples if each in of_media.values()], REJECTED)
    chosen += spread([each for each in samples if each not in chosen], REJECTED - len(chosen))
    for each in chosen:
        yield _of_rejected(samples[each], each)


def _of_rejected(sample: Sample, rejection: Rejection) -> _Drawing:
    """The moment with the most boxes that break a rule."""
    scenes = _scenes(sample, rejection.field.partition(".")[0])
    time_s, boxes = max(scenes, key=lambda scene: sum(bool(_problem(box)) for _, box in scene[1]))
    if rejection.reason == Reason.KEY_TIME:
        times = [frame.time_s for frame in sample.key_frames]
        time_s, boxes = min(times) if min(times) < 0 else max(times), []
    marks = [
        Mark(_upright(box), f"{_cut(name, _LONGEST_NAME)} {problem}".strip(), true=not problem)
        for name, box in boxes[:_MOST_BOXES]
        for problem in [_problem(box)]
    ]
    where = f"{rejection.file}, row {rejection.row}" + ("" if sample.is_image else f", at {time_s:g} s")
    detail = f": {_cut(rejection.detail, _LONGEST_TEXT)}" if rejection.detail else ""
    return _Drawing(sample.media, f"{rejection.reason}{detail} ({where})", max(time_s, 0.0), tuple(marks))


def _accepted(validation: Validation, validated: Path) -> Iterator[_Drawing]:
    """Records with boxes: of each file one of each task, and then others, about different media."""
    for name in validation.tables:
        path = validated / FORMATS[name].output
        records = read_jsonl(path) if name in _TRAINING else iter(read_json(path))
        chosen: dict[str, _Drawing] = {}
        later: dict[str, _Drawing] = {}
        tasks: set[str] = set()
        for record in islice(records, _LOOKED_AT):
            drawing, task = _of_accepted(name, record)
            if drawing.marks and drawing.media not in chosen:
                (later if task in tasks else chosen).setdefault(drawing.media, drawing)
                tasks.add(task)
        yield from islice((chosen | later).values(), _OF_EACH_FILE)


def _of_accepted(name: str, record: Mapping[str, Any]) -> tuple[_Drawing, str]:
    """The first moment with boxes, and the record's task."""
    if name in _TRAINING:
        sample = Sample.from_json(record)
        task, said, image = str(sample.task), sample.question, sample.is_image
        scenes = [*_scenes(sample, "key_items"), *_scenes(sample, "answer")]
    else:
        truth = BENCHMARKS[name].truth(record)
        task, said, image = BENCHMARKS[name].title, record.get("question") or truth.text, False
        scenes = [(second, [(truth.name, box)]) for second, box in truth.boxes.items()]
    time_s, boxes = next((scene for scene in scenes if scene[1]), (0.0, []))
    marks = tuple(
        Mark(_upright(box), _cut(label, _LONGEST_NAME), true=True) for label, box in boxes[:_MOST_BOXES]
    )
    about = task if image else f"{task}, at {time_s:g} s"
    return _Drawing(record["media"], f"{_cut(said, _LONGEST_TEXT)} ({about})", time_s, marks), task


def _scenes(sample: Sample, field: str) -> list[_Scene]:
    """The moments at which a field places something, else the first key frame, else the start."""
    field = field if field in ("answer", "reasoning_process") else "key_items"
    found: dict[float, list[tuple[str, Box]]] = {}
    for name, time_s, box in placed(sample, field):
        found.setdefault(time_s or 0.0, []).append((name, box))
    if found:
        return list(found.items())
    return [(sample.key_frames[0].time_s if sample.key_frames else 0.0, [])]


def _problem(box: Box) -> str:
    x1, y1, x2, y2 = box
    if min(box) < -ROUNDING or max(box) > 1 + ROUNDING:
        return "(outside)"
    if x2 < x1 or y2 < y1:
        return "(inverted)"
    return "(no area)" if x2 == x1 or y2 == y1 else ""


def _upright(box: Box) -> Box:
    x1, y1, x2, y2 = box
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"
