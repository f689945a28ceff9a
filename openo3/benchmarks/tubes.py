"""Shared by benchmarks that ask for a tube: when an object is seen, and its box at each time.

The truth of a record is its `tube`: boxes in source pixels, one for each frame at `fps`, from the frame
`first` on, whose time is `first / fps`. A frame without a box is null. `result` adds the fields after the
dots:

    {"id": "...", "question": "the man in the hat points to the front", "width": 480, "height": 360,
     "tube": {"fps": 30.0, "first": 307, "boxes": [[32, 8, 204, 358], [21, 14, 200, 344], ...]},
     "media": "videos/NAME/X.mp4", "duration_s": 20.0, ...
     "answer_temporal": [10.0, 13.5], "answer_spatial": {"10": [30.0, 9.0, 201.5, 350.0], ...},
     "answer_tube_pre": "<think>...", "format": 1.0}

Let S be the frames of the true span, P those of the answered span, and IoU_t the overlap of the two boxes in
frame t. Then

    vIoU = sum of IoU_t over the frames in both S and P / number of frames in S or P
    tIoU = number of frames in both S and P / number of frames in S or P

`m_vIoU` and `m_tIoU` are means over records. `vIoU@0.3` and `vIoU@0.5` are the shares of records with a
greater vIoU. This is the definition of "Where Does It Exist" (Zhang et al., CVPR 2020, arXiv 2001.06891) and
of HC-STVG's published scorer. Evaluators derived from TubeDETR's code end "S or P" at the earlier of both
ends. They do not penalise a span that ends too late, so their numbers are higher.

A model gives boxes at some times. Between two of them the box is interpolated linearly; before the first and
after the last it is constant.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from openo3.annotations import rows as fields
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import (
    LONG,
    Benchmark,
    Display,
    Facts,
    Fitted,
    Note,
    Record,
    Results,
    Scoring,
    Truth,
)
from openo3.core.evidence import parse_completion
from openo3.core.format_check import format_share
from openo3.core.geometry import BoxSpace, Span, box_iou, pixels
from openo3.core.prompts import Prompts
from openo3.core.reading import final_answer, read_times, read_where, times_by_rule, where_by_rule
from openo3.core.schema import Box, Task

COLUMNS = ("m_vIoU", "vIoU@0.3", "vIoU@0.5", "m_tIoU")
_THRESHOLDS = (0.3, 0.5)
_MAX_FRAMES = 1_000_000
_BOXES_BEGIN = re.compile(r"<obj>|[\[{]|```", re.IGNORECASE)


def checked(raw: Any) -> Record:
    """A record whose question, size and tube are as the module describes.

    Raises `RowError` if a field is absent or of a wrong type, or the tube has no box.
    """
    record = fields.record(raw)
    fields.text(record, "question")
    for side in ("width", "height"):
        _positive(record, side, "")
    tube = fields.mapping(record.get("tube"), "tube")
    _positive(tube, "fps", "tube.")
    if not 0 <= fields.integer(tube.get("first"), "tube.first") <= _MAX_FRAMES:
        raise RowError(Reason.WRONG_TYPE, "tube.first", f"found {fields.shown(tube['first'])}")
    boxes = fields.listed(tube.get("boxes"), "tube.boxes")
    for index, box in enumerate(boxes):
        if box is not None:
            fields.numbers(box, f"tube.boxes[{index}]", 4)
    if not any(boxes):
        raise RowError(Reason.FIELD_MISSING, "tube.boxes", "there is no box to compare with")
    return dict(record)


def _positive(row: Mapping[str, Any], name: str, prefix: str) -> None:
    if fields.number(row.get(name), prefix + name) <= 0:
        raise RowError(Reason.WRONG_TYPE, prefix + name, f"expected more than 0, found {row[name]}")


def facts(record: Record) -> Facts:
    """What the rules of `openo3.validation` are checked over."""
    return {"question.chars": len(record["question"].strip())}


def fit(record: Record, size: tuple[int, int] | None, tolerance_s: float) -> Fitted:
    """The boxes within the frame; a tube beyond the end of the media is noted and kept.

    Boxes are scaled by the record's own `width` and `height`, so a video of another size is only noted.
    """
    notes = []
    if size is not None and tuple(size) != (record["width"], record["height"]):
        annotated = f"annotated {record['width']:g} x {record['height']:g}"
        notes.append(Note("width", f"{annotated}, the video is {size[0]} x {size[1]}"))
    limits = (record["width"], record["height"]) * 2
    boxes = [box and _inside(box, limits) for box in record["tube"]["boxes"]]
    if clipped := sum(
        list(now or ()) != list(was or ()) for now, was in zip(boxes, record["tube"]["boxes"], strict=True)
    ):
        notes.append(Note("tube.boxes", f"{clipped} of {len(boxes)} boxes clipped to the frame"))
        record = {**record, "tube": {**record["tube"], "boxes": boxes}}
    end = true_span(record)[1]
    if end > record["duration_s"] + tolerance_s:
        notes.append(Note("tube", f"ends at {end:g} s, the media lasts {record['duration_s']:g} s, kept"))
    return record, notes


def _inside(box: Sequence[float], limits: Sequence[float]) -> list[float]:
    return [min(max(side, 0), limit) for side, limit in zip(box, limits, strict=True)]


def questions(record: Mapping[str, Any], space: BoxSpace, prompts: Prompts) -> dict[str, str]:
    """One prompt: the tube."""
    return {"tube": prompts.tube(record["question"])}


def result(record: Mapping[str, Any], completions: Mapping[str, str], space: BoxSpace) -> Record:
    """The record with the answered span in seconds and boxes in source pixels, by second.

    `format` is 1 for a completion in the form that was asked for, with a span and a box, else 0.
    """
    text = completions.get("tube", "")
    span, where = read_tube(text, space)
    source = pixels((record["width"], record["height"]))
    formed = format_share(Task.TEMPORAL_SPATIAL, parse_completion(text)) == 1 and span and where
    return {
        **record,
        "answer_temporal": list(span or ()),
        "answer_spatial": {
            second: [round(value, 2) for value in source.scaled(box)] for second, box in where.items()
        },
        "answer_tube_pre": text,
        "format": float(bool(formed)),
        "read": {"tube": where_by_rule(text, space)[1] or times_by_rule(text)[1]},
    }


def read_tube(text: str, space: BoxSpace) -> tuple[Span | None, dict[str, Box]]:
    """The span of an answer, and its first normalised box at each second.

    The span is what the answer says before its boxes, or in JSON. If it says none, it is that of the boxes.

    >>> said = "From 1 to 3 <obj>cup</obj><box>[0,0,500,500]</box>at<t>2.0</t>s"
    >>> read_tube(said, BoxSpace("relative_1000"))
    ((1.0, 3.0), {'2': (0.0, 0.0, 0.5, 0.5)})
    """
    where = {second: boxes[0] for second, boxes in read_where(text, space).items()}
    said = final_answer(text)
    span = read_times(_BOXES_BEGIN.split(said, maxsplit=1)[0]) or read_times(said)
    if span is None and where:
        seconds = [float(second) for second in where]
        span = min(seconds), max(seconds)
    return span, where


def true_span(record: Mapping[str, Any]) -> Span:
    """`(start_s, end_s)` of the true tube; a frame lasts until the next one."""
    tube = record["tube"]
    return tube["first"] / tube["fps"], (tube["first"] + len(tube["boxes"])) / tube["fps"]


def overlaps(record: Mapping[str, Any]) -> tuple[float, float]:
    """`(vIoU, tIoU)` of a record with its answers; 0 without a span."""
    tube = record["tube"]
    first, last = tube["first"], tube["first"] + len(tube["boxes"])
    if not record["answer_temporal"]:
        return 0.0, 0.0
    said_first, said_last = (_frame(second, tube["fps"]) for second in record["answer_temporal"])
    both = range(max(first, said_first), min(last, said_last))
    either = last - first + max(said_last - said_first, 0) - len(both)
    track = sorted((float(second), tuple(box)) for second, box in record["answer_spatial"].items())
    pairs = ((tube["boxes"][frame - first], box_at(track, frame / tube["fps"])) for frame in both)
    shared = sum(box_iou(tuple(true), said) for true, said in pairs if true and said)
    return shared / either, len(both) / either


def _frame(second: float, fps: float) -> int:
    """The first frame that is not before this time."""
    return ceil(max(second, 0.0) * fps - 1e-6)


def box_at(track: Sequence[tuple[float, Box]], time_s: float) -> Box | None:
    """The box at a time, of boxes in the order of their times; interpolated, see above.

    >>> box_at([(1.0, (0, 0, 2, 2)), (2.0, (1, 0, 3, 2))], 1.5)
    (0.5, 0.0, 2.5, 2.0)
    """
    if not track:
        return None
    after = bisect_right(track, time_s, key=lambda item: item[0])
    if after in (0, len(track)):
        return track[min(after, len(track) - 1)][1]
    (start, a), (end, b) = track[after - 1], track[after]
    share = (time_s - start) / (end - start)
    left, top, right, bottom = (was + share * (now - was) for was, now in zip(a, b, strict=True))
    return left, top, right, bottom


def _rows_of_scores(results: Results) -> list[list[float]]:
    found = []
    for record in results:
        viou, tiou = overlaps(record)
        found.append([viou, *(float(viou > least) for least in _THRESHOLDS), tiou])
    return found


def tube_benchmark(
    name: str,
    title: str,
    filename: str,
    *,
    rows: Callable[[str | Path], Iterator[Any]],
    references: Callable[[Any], list[Reference]],
    parse: Callable[[Any], Record],
    media_field: str,
    fit: Callable[[Record, tuple[int, int] | None, float], Fitted] = fit,
    groups: Sequence[str] = (),
) -> Benchmark:
    """A benchmark about tubes, with a column for the `m_vIoU` of each of `groups`; see `Benchmark`."""
    return Benchmark(
        name=name,
        title=title,
        filename=filename,
        rows=rows,
        references=references,
        parse=parse,
        check=checked,
        facts=facts,
        fit=fit,
        media_field=media_field,
        id_field="id",
        sampling=LONG,
        questions=questions,
        result=result,
        scoring=Scoring(
            COLUMNS,
            COLUMNS,
            _rows_of_scores,
            overall=lambda score: score["m_vIoU"],
            group=(lambda record: record["group"]) if groups else None,
            asks={"tube": {"when": "m_tIoU", "where": "m_vIoU"}},
        ),
        truth=partial(_truth, title),
        display=Display(
            columns=(
                ("m_vIoU", "Where", "mean vIoU"),
                *((f"vIoU@{least}", f"vIoU@{least}", f"vIoU > {least}") for least in _THRESHOLDS),
                ("m_tIoU", "When", "mean tIoU"),
                *((f"m_vIoU/{group}", group.capitalize(), "mean vIoU") for group in groups),
                ("format", "Format", "well formed"),
            ),
            main=("m_vIoU", f"{title}'s vIoU"),
            axes={"m_tIoU": f"{title}'s tIoU", "m_vIoU": f"{title}'s vIoU"},
            headlines={
                "m_vIoU": "Overlap of answered and true tube",
                "vIoU@0.5": "Tubes that overlap by more than half",
            },
            spreads={"m_vIoU": f"Tube: vIoU, {title}"},
            single="span",
        ),
    )


def _truth(title: str, record: Mapping[str, Any]) -> Truth:
    return Truth(labels=(title, record["id"]), span=true_span(record))
