"""The templates of `openo3/prompts/annotate.yaml`, filled.

How frames and their times are shown, and how options and grades are worded, is said by the templates of all
other prompts (`openo3.core.prompts`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from openo3.configuration import parse_file
from openo3.core.geometry import BoxSpace
from openo3.core.prompts import (
    _check,  # the project's one form of templates
    _filled,
    _template,
    seconds,
)
from openo3.core.schema import Task

DEFAULT = Path(__file__).parents[1] / "prompts/annotate.yaml"


@dataclass(frozen=True)
class TaskRequests:
    """What a record of each task is."""

    temporal_spatial: str = _template()
    temporal: str = _template()
    temporal_mcq: str = _template()
    visual: str = _template()
    mcq: str = _template()
    free_form: str = _template()


@dataclass(frozen=True)
class BoxWords:
    """How boxes of each space are written."""

    relative_1000: str = _template()
    pixels: str = _template("width", "height")
    normalised: str = _template()


@dataclass(frozen=True)
class Rules:
    """How evidence is written about videos and about images."""

    video: str = _template("boxes")
    image: str = _template("boxes")


@dataclass(frozen=True)
class Checks:
    """What the filters ask."""

    confirm: str = _template("object")
    name: str = _template(may=("object",))
    key_frames: str = _template("question")
    blind: str = _template("question", may=("duration",))


@dataclass(frozen=True)
class Requests:
    """What the model is asked for: with questions of its own (`write`), or about a given one (`answer`)."""

    write: str = _template("count", "task", "rules")
    answer: str = _template("question", "task", "rules")


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
        requests = Requests(self.write, self.answer)
        sections = {name: getattr(self, name) for name in ("tasks", "boxes", "rules", "checks")}
        for prefix, section in [*((f"{name}.", part) for name, part in sections.items()), ("", requests)]:
            for each in fields(section):
                needs, may = each.metadata["needs"], each.metadata["may"]
                _check(f"{prefix}{each.name}", getattr(section, each.name), needs, may)

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
            boxes = _filled(boxes, width=width, height=height)
        rules = _filled(self.rules.image if task is Task.VISUAL else self.rules.video, boxes=boxes)
        asked = getattr(self.tasks, task.name.lower())
        if question is None:
            return _filled(self.write, count=str(count), task=asked, rules=rules)
        return _filled(self.answer, question=question, task=asked, rules=rules)

    def second_look(self, name: str, kind: str) -> str:
        """What is asked about a crop that should show the object `name`; `kind`: see `FilterParams`."""
        return _filled(self.checks.confirm if kind == "yes-no" else self.checks.name, object=name)

    def key_frames(self, question: str) -> str:
        return _filled(self.checks.key_frames, question=question)

    def blind(self, question: str, duration_s: float | None) -> str:
        return _filled(self.checks.blind, question=question, duration=seconds(duration_s or 0.0))


def read(path: str | Path | None) -> AnnotatePrompts:
    """The templates of a file, by default the installed ones. Raises `ConfigurationError`."""
    return parse_file(path or DEFAULT, AnnotatePrompts)
