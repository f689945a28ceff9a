"""Every text that a model is asked with, for all tasks and benchmarks, in one place.

A conversation shows the frames first, each introduced by its time, then the length of the video, then
the question with its instruction:

    Frame 1 at 0.0s: <image>
    Frame 2 at 1.5s: <image>
    The video lasts 9.6 seconds.
    Which shape enters after the red circle?
    Reason inside <think></think> ...

Frames come first so that all questions about one video share one prefix: it is encoded once.
The same function makes the prompt for supervised training, for reinforcement learning and for
evaluation, so the three cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from openo3.core.evidence import bracketed
from openo3.core.schema import Task

THINK = "Reason inside <think></think>, then give the answer inside <answer></answer>."
CITE = "In the reasoning, cite what you see as <obj>name</obj><box>[x1,y1,x2,y2]</box>at<t>seconds</t>s."
CITE_TIME = "In the reasoning, write each time as <t>seconds</t>s."
SPAN = "Answer with From <t>start</t>s to <t>end</t>s."

INSTRUCTIONS: dict[Task, str] = {
    Task.TEMPORAL_SPATIAL: f"{THINK} {CITE} Answer in words.",
    Task.TEMPORAL: f"{THINK} {CITE_TIME} {SPAN}",
    Task.TEMPORAL_MCQ: f"{THINK} {CITE_TIME} {SPAN} On a new line add Correct Option: and the letter.",
    Task.VISUAL: f"{THINK} Cite what you see as <obj>name</obj><box>[x1,y1,x2,y2]</box>, in the answer too.",
    Task.MCQ: f"{THINK} {CITE} Answer with the letter only.",
    Task.FREE_FORM: f"{THINK} {CITE} Answer in words.",
}


def seconds(time_s: float) -> str:
    """A time as every prompt and target writes it: one decimal, `2.5`."""
    return f"{time_s:.1f}"


def task_text(task: Task, question: str) -> str:
    """The question of an STGR record with its task's instruction; a direct question has none."""
    return f"{question}\n{INSTRUCTIONS[task]}" if task in INSTRUCTIONS else question


def without_instruction(text: str) -> str:
    """The question without its task's instruction, for models that do not know the evidence grammar.

    >>> without_instruction(vstar_what("What is it?"))
    'What is it?'
    """
    question, _, last = text.rpartition("\n")
    return question if last in INSTRUCTIONS.values() else text


def vstar_what(question: str) -> str:
    """V-STaR's first question: what is seen, answered in words."""
    return task_text(Task.TEMPORAL_SPATIAL, question)


def vstar_when(question: str) -> str:
    """Chain 1, second question: when it is seen."""
    return task_text(Task.TEMPORAL, question)


def vstar_where(question: str, at_s: Sequence[int]) -> str:
    """Chain 1, third question: where it is at each of the true whole seconds `at_s`."""
    listed = ", ".join(map(str, at_s))
    return f'{question}\nAnswer for the seconds {listed} as JSON: {{"second": [x1,y1,x2,y2]}}.'


def vstar_where_untimed(question: str, count: int) -> str:
    """Chain 2, second question: where it is, given only the number of boxes."""
    return (
        f"{question}\nChoose the {count} whole seconds that show it and answer as JSON: "
        '{"second": [x1,y1,x2,y2]}.'
    )


def vstar_when_boxed(question: str, boxes: Sequence[Sequence[float]]) -> str:
    """Chain 2, third question: when it is seen, given its true boxes in the model's coordinate space."""
    return task_text(Task.TEMPORAL, with_boxes(question, boxes))


def with_boxes(question: str, boxes: Sequence[Sequence[float]]) -> str:
    """The question with an object's boxes, one a second, in the model's coordinate space."""
    listed = " ".join(map(bracketed, boxes))
    return f"{question}\nIts boxes over time are {listed}."


def tvg_when(query: str) -> str:
    """When the described event happens."""
    return task_text(Task.TEMPORAL, query)


IN_THE_END = "The picture that the question refers to is at the end of the video."
BUT_THE_END = "A quiz at the end of the video is not what is asked about."


def choice(question: str, options: Sequence[str], note: str = "") -> str:
    """A question with its options, each after its letter, to be answered by one; without any, in words.

    >>> choice("Which one?", ["Apples.", "Pears."]).splitlines()[:3]
    ['Which one?', 'A. Apples.', 'B. Pears.']
    """
    lettered = [f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]
    task = Task.MCQ if options else Task.FREE_FORM
    return task_text(task, "\n".join([*([note] if note else []), question, *lettered]))


def conversation(times_s: Sequence[float], duration_s: float | None, text: str) -> list[dict[str, Any]]:
    """Chat messages with one `{"type": "image"}` part per frame, for any processor's chat template.

    `times_s` are the frames' presentation times, `duration_s` the length of the media, `None` for a
    still image, which is shown without a time. The pixels travel beside the messages, in the same order.
    """
    parts: list[dict[str, Any]] = []
    if duration_s is None:
        parts += [{"type": "image"}, {"type": "text", "text": f"\n{text}"}]
    else:
        for number, time_s in enumerate(times_s, start=1):
            lead = "" if number == 1 else "\n"
            parts += [
                {"type": "text", "text": f"{lead}Frame {number} at {seconds(time_s)}s: "},
                {"type": "image"},
            ]
        parts.append({"type": "text", "text": f"\nThe video lasts {seconds(duration_s)} seconds.\n{text}"})
    return [{"role": "user", "content": parts}]
