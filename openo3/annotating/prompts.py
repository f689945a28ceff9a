"""The templates of `openo3/prompts/annotate.yaml`, filled.

How frames and their times are shown, and how options and grades are worded, is said by the templates of all
other prompts (`openo3.core.prompts`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from openo3.configuration import parse_file
from openo3.core.geometry import BoxSpace
from openo3.core.prompts import seconds
from openo3.core.schema import Task
from openo3.core.templates import check_templates, filled, template

DEFAULT = Path(__file__).parents[1] / "prompts/annotate.yaml"


@dataclass(frozen=True)
class TaskRequests:
    """What a record of each task is."""

    temporal_spatial: str = template()
    temporal: str = template()
    temporal_mcq: str = template()
    visual: str = template()
    mcq: str = template()
    free_form: str = template()


@dataclass(frozen=True)
class BoxWords:
    """How boxes of each space are written."""

    relative_1000: str = template()
    pixels: str = template("width", "height")
    normalised: str = template()


@dataclass(frozen=True)
class Rules:
    """How evidence is written about videos and about images."""

    video: str = template("boxes")
    image: str = template("boxes")


@dataclass(frozen=True)
class Checks:
    """What the filters ask."""

    confirm: str = template("object")
    name: str = template(may=("object",))
    key_frames: str = template("question")
    blind: str = template("question", may=("duration",))


@dataclass(frozen=True)
class Requests:
    """What the model is asked for: with questions of its own (`write`), or about a given one (`answer`)."""

    write: str = template("count", "task", "rules")
    answer: str = template("question", "task", "rules")


@dataclass(frozen=True)
class AnnotatePrompts:
    """The templates of a file. Raises `ValueError` that names the key of one that is wrong."""

    tasks: TaskRequests
    boxes: BoxWords
    rules: Rules
    write: str
    answer: str
    checks: Checks

    def __post_init__(self) -> None:
        sections = {name: getattr(self, name) for name in ("tasks", "boxes", "rules", "checks")}
        for name, section in sections.items():
            check_templates(section, f"{name}.")
        check_templates(Requests(self.write, self.answer))

    @property
    def digest(self) -> str:
        """SHA-256 of all templates."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def request(self, task: Task, space: BoxSpace, count: int, question: str | None) -> str:
        """What the model is asked about a clip whose boxes it writes in `space`: `count` annotations, or one
        about a given question."""
        boxes = getattr(self.boxes, space.kind)
        if space.size:
            width, height = map(str, space.size)
            boxes = filled(boxes, width=width, height=height)
        rules = filled(self.rules.image if task is Task.VISUAL else self.rules.video, boxes=boxes)
        asked = getattr(self.tasks, task.name.lower())
        if question is None:
            return filled(self.write, count=str(count), task=asked, rules=rules)
        return filled(self.answer, question=question, task=asked, rules=rules)

    def second_look(self, name: str, kind: str) -> str:
        """What is asked about a crop that should show the object `name`; `kind`: see `FilterParams`."""
        return filled(self.checks.confirm if kind == "yes-no" else self.checks.name, object=name)

    def key_frames(self, question: str) -> str:
        return filled(self.checks.key_frames, question=question)

    def blind(self, question: str, duration_s: float | None) -> str:
        return filled(self.checks.blind, question=question, duration=seconds(duration_s or 0.0))


def read(path: str | Path | None) -> AnnotatePrompts:
    """The templates of a file, by default the installed ones. Raises `ConfigurationError`."""
    return parse_file(path or DEFAULT, AnnotatePrompts)
