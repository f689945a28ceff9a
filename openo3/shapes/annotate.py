"""Annotations of shapes clips in STGR's published schema, for all six tasks.

A row of the RL file (a row of the SFT file also has `reasoning_process`):

    {"id": "train-000012-3", "task": "temporal-spatial free-form QA", "source": "shapes",
     "question": "What is the shape that comes into view first?", "answer": "the red circle",
     "video_path": "000012.mp4", "image_path": null, "image_size": null,
     "key_frames": [{"idx": 1, "time": 2.0, "path": "000012_24.jpg"}],
     "key_items": {"1": {"red circle": [[0.12, 0.3, 0.34, 0.61]]}}}

Within a file, no question about a clip repeats; some questions are in both files, as in STGR. The RL file is
exact. In the SFT file, boxes, cited times and spans carry the errors of `LabelNoise`, because in STGR a model
wrote them. This concerns key items, reasoning and the answers of temporal questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from openo3.core.evidence import format_box, format_claim, format_span, format_time
from openo3.core.geometry import Span
from openo3.core.schema import Box, Task
from openo3.shapes.clips import Clip
from openo3.shapes.noise import LabelNoise
from openo3.shapes.questions import (
    COMPOSED,
    NUMBERS,
    SIDES,
    SIMPLE,
    STAYS,
    Subject,
    arrival,
    clear_subjects,
    direction_options,
    insert_claims,
    on_side,
    options,
    visibility_reason,
)
from openo3.shapes.scene import Object

Row = dict[str, Any]

SFT_TASKS = {Task.TEMPORAL_SPATIAL: 0.41, Task.TEMPORAL: 0.29, Task.MCQ: 0.18, Task.FREE_FORM: 0.12}
RL_TASKS = {
    Task.TEMPORAL_SPATIAL: 0.37,
    Task.TEMPORAL: 0.26,
    Task.TEMPORAL_MCQ: 0.11,
    Task.MCQ: 0.15,
    Task.FREE_FORM: 0.11,
}
"""Shares of the tasks among questions about videos. Visual QA is asked about still pictures."""
FAMILIES_ASKED = (*SIMPLE, *4 * tuple(COMPOSED))
"""Eight of thirteen questions take several steps."""


@dataclass(frozen=True)
class GroundedQuestion:
    """A question with its exact answer.

    `evidence` holds the shapes to cite, each with the index of the frame that shows it. `reason` is the text
    with `{0}`, `{1}` in place of the claims, and `{start}`, `{end}` in place of the ends of `span_s`.
    """

    question: str
    answer: str
    reason: str
    evidence: tuple[tuple[Object, int], ...] = ()
    span_s: Span | None = None


def rows_of_clip(clip: Clip, per_file: int, noise: LabelNoise) -> tuple[list[Row], list[Row]]:
    """Rows about a clip for the SFT and the RL file: `per_file` each, or fewer if few questions fit."""
    rng = clip.question_rng
    files: list[list[Row]] = []
    for number, (weights, errors) in enumerate(((SFT_TASKS, noise), (RL_TASKS, None))):
        # Drawn anew for each file, since the first file would otherwise use up some families
        subjects = clear_subjects(clip.scene, rng, FAMILIES_ASKED)
        rows: dict[str, Row] = {}  # by question without its options
        for pick in rng.choice(len(weights), size=per_file, p=list(weights.values())):
            task = list(weights)[pick]
            for found in (ASK_BY_TASK[task](clip, subject, rng) for subject in islice(subjects, 4)):
                if found and (question := found.question.partition("\n")[0]) not in rows:
                    rows[question] = _video_row(clip, number * per_file + len(rows), task, found, errors)
                    break
        files.append(list(rows.values()))
    return files[0], files[1]


def _ask_what(clip: Clip, subject: Subject, rng: np.random.Generator) -> GroundedQuestion:
    return GroundedQuestion(
        subject.what, f"the {subject.item.name}", subject.reason, _evidence(clip, subject)
    )


def _ask_when(clip: Clip, subject: Subject, rng: np.random.Generator) -> GroundedQuestion:
    item = subject.item
    reason = visibility_reason(subject, "{start}", "{end}")
    return GroundedQuestion(subject.when, "", reason, span_s=(item.enter_s, item.leave_s))


def _ask_when_and_what(clip: Clip, subject: Subject, rng: np.random.Generator) -> GroundedQuestion:
    choices, letter = options(clip.scene, subject.item, rng)
    question = f"{subject.when_and_what}\n{choices}"
    return replace(_ask_when(clip, subject, rng), question=question, answer=letter)


def _ask_choice(clip: Clip, subject: Subject, rng: np.random.Generator) -> GroundedQuestion | None:
    if rng.random() < 0.3:
        return _ask_direction(clip, rng, choice=True)
    choices, letter = options(clip.scene, subject.item, rng)
    return GroundedQuestion(f"{subject.what}\n{choices}", letter, subject.reason, _evidence(clip, subject))


def _ask_free_form(clip: Clip, subject: Subject, rng: np.random.Generator) -> GroundedQuestion | None:
    kind = rng.integers(3)
    if kind == 0:
        return _ask_count(clip)
    return _ask_direction(clip, rng, choice=False) if kind == 1 else _ask_colour(clip, rng)


def _ask_count(clip: Clip) -> GroundedQuestion:
    first, *others = sorted(clip.scene.objects, key=lambda item: item.enter_s)
    names = " and ".join(f"the {item.name}" for item in others)
    return GroundedQuestion(
        "How many shapes come into view?",
        NUMBERS[len(clip.scene.objects)],
        f"{{0}} comes first. Next {'comes' if len(others) == 1 else 'come'} {names}.",
        ((first, clip.frame_from(arrival(clip.scene, first))),),
    )


def _ask_direction(clip: Clip, rng: np.random.Generator, choice: bool) -> GroundedQuestion | None:
    item = clip.scene.objects[rng.integers(len(clip.scene.objects))]
    first, last = (clip.frame_from(time) for time in (item.enter_s + 0.5, item.leave_s - 0.5))
    if not all(clip.scene.seen(item, clip.frame_time(index)) for index in (first, last)):
        return None
    where = f"further {item.direction}" if item.direction else "where it was"
    question, answer = f"Which way does the {item.name} move?", item.direction or STAYS
    if choice:
        choices, answer = direction_options(item, rng)
        question = f"{question}\n{choices}"
    return GroundedQuestion(
        question, answer, f"{{0}} is in view. Next {{1}} is {where}.", ((item, first), (item, last))
    )


def _ask_colour(clip: Clip, rng: np.random.Generator) -> GroundedQuestion | None:
    item = clip.scene.objects[rng.integers(len(clip.scene.objects))]
    if sum(other.shape == item.shape for other in clip.scene.objects) > 1:
        return None
    evidence = ((item, clip.frame_from(arrival(clip.scene, item))),)
    return GroundedQuestion(f"What colour is the {item.shape}?", item.colour, "{0} is in view.", evidence)


AskFunction = Callable[[Clip, Subject, np.random.Generator], GroundedQuestion | None]
ASK_BY_TASK: Mapping[Task, AskFunction] = {
    Task.TEMPORAL_SPATIAL: _ask_what,
    Task.TEMPORAL: _ask_when,
    Task.TEMPORAL_MCQ: _ask_when_and_what,
    Task.MCQ: _ask_choice,
    Task.FREE_FORM: _ask_free_form,
}


def _evidence(clip: Clip, subject: Subject) -> tuple[tuple[Object, int], ...]:
    return tuple((item, clip.frame_from(time)) for item, time in subject.evidence)


def key_frame_path(clip: Clip, index: int) -> str:
    return f"{clip.name}_{index}.jpg"


def key_frame_index(path: str) -> int:
    return int(path.removesuffix(".jpg").rpartition("_")[2])


def _row(clip: Clip, number: int, task: Task, question: str, answer: str) -> Row:
    return {
        "id": f"{clip.split}-{clip.name}-{number}",
        "task": str(task),
        "source": "shapes",
        "question": question,
        "answer": answer,
        "video_path": None,
        "image_path": None,
        "image_size": None,
        "key_frames": [],
        "key_items": {},
    }


def _video_row(clip: Clip, number: int, task: Task, asked: GroundedQuestion, noise: LabelNoise | None) -> Row:
    """`noise` is None for the RL file."""
    rng = clip.noise_rng(number)
    boxes = [clip.scene.box(item, clip.frame_time(index)) for item, index in asked.evidence]
    answer, span = asked.answer, asked.span_s
    if noise is not None:
        boxes = [noise.box(box, rng) for box in boxes]
        span = noise.span(span, clip.scene.duration_s, rng) if span else None
        answer = format_span(*span) if span else answer
    elif span:
        span_text = f"[{span[0]:.1f}, {span[1]:.1f}]"
        answer = f"{answer}\n{span_text}" if task is Task.TEMPORAL_MCQ else span_text
    row = _row(clip, number, task, asked.question, answer) | {"video_path": f"{clip.name}.mp4"}
    if task is Task.TEMPORAL_SPATIAL:
        row |= _keys(clip, asked, boxes)
    if noise is None:
        return row
    if span:
        return row | {
            "reasoning_process": asked.reason.format(start=format_time(span[0]), end=format_time(span[1]))
        }
    return row | {"reasoning_process": _reasoning(clip, asked, boxes, noise.shift_s(rng), rng)}


def _keys(clip: Clip, asked: GroundedQuestion, boxes: Sequence[Box]) -> Row:
    """The key frames in order of time, and the boxes of the evidence in each."""
    indices = sorted({index for _, index in asked.evidence})
    return {
        "key_frames": [
            {"idx": number, "time": round(clip.frame_time(index), 3), "path": key_frame_path(clip, index)}
            for number, index in enumerate(indices, start=1)
        ],
        "key_items": {
            str(number): {
                item.name: [_rounded(box, 6)]
                for (item, at), box in zip(asked.evidence, boxes, strict=True)
                if at == index
            }
            for number, index in enumerate(indices, start=1)
        },
    }


def _reasoning(
    clip: Clip, asked: GroundedQuestion, boxes: Sequence[Box], shift_s: float, rng: np.random.Generator
) -> str:
    """The reasoning with its claims. The time of one random cited frame is wrong by `shift_s`."""
    indices = sorted({index for _, index in asked.evidence})
    wrong, last = indices[rng.integers(len(indices))], clip.frame_time(clip.frame_from(clip.scene.duration_s))
    claims = []
    for (item, index), box in zip(asked.evidence, boxes, strict=True):
        time = clip.frame_time(index)
        said = float(np.clip(time + shift_s, 0, last)) if index == wrong else time
        claims.append(format_claim(item.name, [_rounded(box, 3)], round(said, 1)))
    return insert_claims(asked.reason, claims)


def row_of_picture(clip: Clip, noise: LabelNoise | None) -> tuple[Row, int]:
    """A row about a still picture, and the index of the frame that is that picture.

    `noise` is None for the RL file.
    """
    rng = clip.question_rng
    while True:
        index = clip.frame_from(rng.uniform(0, clip.scene.duration_s))
        seen = [item for item in clip.scene.objects if clip.scene.seen(item, clip.frame_time(index))]
        if seen:
            break
    questions = _picture_questions(clip, index, seen)
    return _picture_row(clip, index, questions[rng.integers(len(questions))], noise), index


def _picture_questions(clip: Clip, index: int, seen: list[Object]) -> list[GroundedQuestion]:
    """Questions about the place of a named shape, or of the shape on one side of another."""
    time = clip.frame_time(index)
    found = [
        GroundedQuestion(f"Where is the {item.name}?", item.name, "{0} is in view.", ((item, index),))
        for item in seen
    ]
    there = [item for item in clip.scene.objects if item.in_view(time)]
    for anchor in seen:
        for side in SIDES:
            beside = on_side(there, anchor, side, time)
            if beside in seen:
                reason = f"{{0}} is in view. It has {{1}} {side} it."
                question = f"Where is the shape {side} the {anchor.name}?"
                found.append(
                    GroundedQuestion(question, beside.name, reason, ((anchor, index), (beside, index)))
                )
    return found


def _picture_row(clip: Clip, index: int, asked: GroundedQuestion, noise: LabelNoise | None) -> Row:
    time, size = clip.frame_time(index), clip.scene.size
    item = asked.evidence[-1][0]
    answer = f"<obj>{item.name}</obj>{format_box(_pixels(clip.scene.box(item, time), size))}"
    row = _row(clip, 0, Task.VISUAL, asked.question, answer)
    row |= {"image_path": key_frame_path(clip, index), "image_size": list(size)}
    if noise is not None:
        rng = clip.noise_rng(0)
        boxes = [noise.box(clip.scene.box(cited, time), rng) for cited, _ in asked.evidence]
        claims = [
            format_claim(cited.name, [_pixels(box, size)])
            for (cited, _), box in zip(asked.evidence, boxes, strict=True)
        ]
        row["reasoning_process"] = insert_claims(asked.reason, claims)
    return row


def _rounded(box: Box, decimals: int) -> list[float]:
    return [round(float(value), decimals) for value in box]


def _pixels(box: Box, size: tuple[int, int]) -> list[int]:
    """A normalised box in whole pixels of `size`."""
    return [round(value * side) for value, side in zip(box, (*size, *size), strict=True)]
