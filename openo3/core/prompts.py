"""Every text that a model is asked with, made from the templates of one file.

A conversation shows the frames first, each introduced by its time, then the length of the video, then
the question with its instruction; by the templates of `openo3/prompts/default.yaml`:

    Frame 1 at 0.0s: <image>
    Frame 2 at 1.5s: <image>
    The video lasts 9.6 seconds.
    Which shape enters after the red circle?
    Reason inside <think></think> ...

Frames come first so that all questions about one video share one prefix: it is encoded once.
The same `Prompts` make the prompts of supervised training, of reinforcement learning and of
evaluation, so the three cannot disagree. `openo3.prompt_file` reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from string import ascii_uppercase
from typing import Any

from openo3.core.evidence import bracketed
from openo3.core.schema import Task
from openo3.core.templates import check_templates, filled, pieces, template

_IMAGE = None  # stands for a picture among the texts of a message


@dataclass(frozen=True)
class Conversation:
    """What surrounds a question: `video` or a still `image`; `frame` is repeated for each frame of a video.

    `picture` is repeated for each picture of the question, which follow what is asked about. `system` is the
    system message; an empty one is left out.
    """

    system: str = template()
    frame: str = template("image", may=("number", "time"))
    picture: str = template("image", may=("number",))
    video: str = template("frames", "pictures", "question", may=("duration",))
    image: str = template("image", "pictures", "question")


@dataclass(frozen=True)
class TaskTemplates:
    """How a question of each kind of task is asked."""

    temporal_spatial: str = template("question")
    temporal: str = template("question")
    temporal_mcq: str = template("question")
    visual: str = template("question")
    mcq: str = template("question")
    free_form: str = template("question")


@dataclass(frozen=True)
class Questions:
    """Questions whose answer is boxes, what a question adds to what is asked, and options.

    `about_last_picture` and `not_about_last_picture` are for videos that end with the picture of a quiz,
    `about_next_picture` for a picture that follows the video. `relevance` asks for one of the digits 0 to 2.
    """

    where: str = template("question", "seconds")
    where_untimed: str = template("question", "count")
    with_boxes: str = template("question", "boxes")
    when_answered: str = template("question")
    choice: str = template("question", "options")
    option: str = template("letter", "option")
    about_last_picture: str = template("question")
    not_about_last_picture: str = template("question")
    about_next_picture: str = template("question")
    tube: str = template("question")
    relevance: str = template("question")


@dataclass(frozen=True)
class JudgeTemplates:
    """What a served judge is asked: `grade` an answer, or say which option an answer means (`choose`)."""

    grade: str = template("question", "truth", "candidate")
    choose: str = template("question", "options", "answer")


@dataclass(frozen=True)
class Prompts:
    """The templates of a file. `grammar` asks in the evidence grammar, `plain` as a base model is asked.

    Raises:
        ValueError: a template has an unknown placeholder, or lacks one; the message names its key.
    """

    conversation: Conversation
    grammar: TaskTemplates
    plain: TaskTemplates
    questions: Questions
    judge: JudgeTemplates

    def __post_init__(self) -> None:
        for part in fields(self):
            check_templates(getattr(self, part.name), f"{part.name}.")
        for name, shown in (("video", "{frames}"), ("image", "{image}")):
            text = getattr(self.conversation, name)
            order = [text.index(each) for each in (shown, "{pictures}", "{question}")]
            if order != sorted(order):
                raise ValueError(
                    f"conversation.{name}: {shown} must come before {{pictures}} and {{question}} after both"
                )

    @property
    def digest(self) -> str:
        """SHA-256 of all templates; comments and the layout of the file do not count."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def plainly(self) -> Prompts:
        """The same prompts without the evidence grammar, for models that do not know it."""
        return replace(self, grammar=self.plain)

    def task(self, task: Task, question: str) -> str:
        """A question with its task's instruction; a direct question (`Task.WHERE`) has none."""
        if task is Task.WHERE:
            return question
        return filled(getattr(self.grammar, task.name.lower()), question=question)

    def where(self, question: str, at_s: Sequence[int]) -> str:
        """Where it is at each of the whole seconds `at_s`."""
        return filled(self.questions.where, question=question, seconds=", ".join(map(str, at_s)))

    def where_untimed(self, question: str, count: int) -> str:
        """Where it is, given only the number of boxes."""
        return filled(self.questions.where_untimed, question=question, count=str(count))

    def with_boxes(self, question: str, boxes: Sequence[Sequence[float]]) -> str:
        """The question with an object's boxes, one a second, in the model's coordinate space."""
        listed = " ".join(map(bracketed, boxes))
        return filled(self.questions.with_boxes, question=question, boxes=listed)

    def when_boxed(self, question: str, boxes: Sequence[Sequence[float]]) -> str:
        """When it is seen, given its true boxes in the model's coordinate space."""
        return self.task(Task.TEMPORAL, self.with_boxes(question, boxes))

    def when_answered(self, question: str) -> str:
        """When the video shows the answer to a question."""
        return self.task(Task.TEMPORAL, filled(self.questions.when_answered, question=question))

    def tube(self, sentence: str) -> str:
        """When the described object is seen, and its box at each frame of that time."""
        return filled(self.questions.tube, question=sentence)

    def relevance(self, question: str) -> str:
        """How much the pictures shown, cut out of a video, help to answer the question: 0, 1 or 2."""
        return filled(self.questions.relevance, question=question)

    def choice(self, question: str, options: Sequence[str], about: str = "") -> str:
        """A question with its options, each after its letter, to be answered by one; without any, in words.

        `about` names the template of `questions` that says what the question is about.
        """
        lettered = self.lettered(options)
        asked = filled(self.questions.choice, question=question, options=lettered) if options else question
        if about:
            asked = filled(getattr(self.questions, about), question=asked)
        return self.task(Task.MCQ if options else Task.FREE_FORM, asked)

    def lettered(self, options: Sequence[str]) -> str:
        """The options, a line each, after their letters."""
        pairs = zip(ascii_uppercase, options, strict=False)
        return "\n".join(
            filled(self.questions.option, letter=letter, option=option) for letter, option in pairs
        )

    def grade(self, question: str, truth: str, candidate: str) -> str:
        """What a judge is asked to grade."""
        return filled(self.judge.grade, question=question, truth=truth, candidate=candidate)

    def choose(self, question: str, options: Sequence[str], answer: str) -> str:
        """What a judge is asked where no rule tells which option an answer means."""
        lettered = self.lettered(options)
        return filled(self.judge.choose, question=question, options=lettered, answer=answer)

    def messages(
        self, times_s: Sequence[float], duration_s: float | None, text: str, pictures: int = 0
    ) -> list[dict[str, Any]]:
        """Chat messages with one `{"type": "image"}` part per frame, for any processor's chat template.

        `times_s` are the frames' presentation times, `duration_s` the length of the media, `None` for a
        still image, which is shown without a time. That many `pictures` of the question follow. Without
        `times_s` the text stands alone. The pixels travel beside the messages, in the same order.
        """
        said = self.conversation
        further = [
            piece
            for number in range(1, pictures + 1)
            for piece in pieces(said.picture, {"number": [str(number)], "image": [_IMAGE]})
        ]
        asked = {"pictures": further, "question": [text]}
        parts: list[str | None]
        if not times_s:
            parts = [text]
        elif duration_s is None:
            parts = [*pieces(said.image, {"image": [_IMAGE], **asked})]
        else:
            frames = [
                piece
                for number, time_s in enumerate(times_s, start=1)
                for piece in pieces(
                    said.frame, {"number": [str(number)], "time": [seconds(time_s)], "image": [_IMAGE]}
                )
            ]
            values = {"frames": frames, "duration": [seconds(duration_s)], **asked}
            parts = [*pieces(said.video, values)]
        system = [{"role": "system", "content": _content([filled(said.system)])}] if said.system else []
        return [*system, {"role": "user", "content": _content(parts)}]


def seconds(time_s: float) -> str:
    """A time as every prompt and target writes it: one decimal, `2.5`."""
    return f"{time_s:.1f}"


def _content(parts: Sequence[str | None]) -> list[dict[str, Any]]:
    """The parts of a message: neighbouring texts are one part."""
    content: list[dict[str, Any]] = []
    for piece in parts:
        if piece is _IMAGE:
            content.append({"type": "image"})
        elif piece and content and content[-1]["type"] == "text":
            content[-1]["text"] += piece
        elif piece:
            content.append({"type": "text", "text": piece})
    return content
