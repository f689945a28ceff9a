"""How a folder is annotated: the parameters of `openo3 annotate` and of the stage `annotate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from openo3.configuration import within
from openo3.core.geometry import NORMALISED, RELATIVE_1000, BoxSpace, pixels
from openo3.core.schema import STGR_TASKS, Task
from openo3.media.decode import SamplingConfig

TASKS = {task.name.lower().replace("_", "-"): task for task in STGR_TASKS}
"""Tasks by the short names that commands and parameters use."""


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible address: `url` is its base, up to and with `/v1`.

    `key_env` names the environment variable that holds its key. `body` are further fields of every request;
    one that is null is left out, also one that would be set, such as `temperature`.
    """

    url: str = ""
    model: str = ""
    key_env: str = "OPENAI_API_KEY"
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """Frames as the model sees them: evenly spread ones, `fps` a second within the two bounds, of at most
    `max_pixels` with sides of whole multiples of `multiple`. `crop_pixels` bounds what is cut out."""

    fps: float = 1.0
    min_frames: int = 4
    max_frames: int = 16
    max_pixels: int = 262144
    multiple: int = 28
    crop_pixels: int = 262144
    jpeg_quality: int = 90

    def __post_init__(self) -> None:
        within("frames.fps", self.fps, above=0)
        within("frames.min_frames", self.min_frames, at_least=1)
        within("frames.max_frames", self.max_frames, at_least=self.min_frames)
        within("frames.multiple", self.multiple, at_least=1)
        within("frames.max_pixels", self.max_pixels, at_least=self.multiple**2)
        within("frames.crop_pixels", self.crop_pixels, at_least=self.multiple**2)
        within("frames.jpeg_quality", self.jpeg_quality, at_least=1, at_most=100)

    def sampling(self) -> SamplingConfig:
        return SamplingConfig(self.fps, self.min_frames, self.max_frames, self.max_pixels, self.multiple)


@dataclass(frozen=True)
class FilterParams:
    """Which filters are used, in the order of the registry (`openo3.annotating.filters`), and how strict.

    Args:
        use: names of the filters; null uses all.
        max_box_area: the largest box, as a share of the frame.
        min_box_side: the shortest side of a box, as a share of the frame.
        citation_s: how far a cited time may be from a key frame, in seconds.
        citation_iou: how much a cited box must overlap with a box of that object at that key frame.
        confirm: how the second look asks: whether the crop shows the object (`yes-no`), or what it shows
            (`name`), which must name the object.
        confirm_margin: how much of the surroundings the crop shows, as a share of the box on each side.
        min_confirmed: the share of a record's boxes that must be confirmed.
        answers: who says that an answer is right: rules about its `words`, or the checking `model`, which
            grades it.
        span_iou: how much an answered span must overlap with the record's to be right.
        blind_times: how often a question is asked without frames; 0 does not ask.
        blind_temperature: with which temperature.
        max_blind_right: the share of those answers that may be right.
        duplicate_likeness: from which likeness of its words (ROUGE) on a question repeats an earlier one.
    """

    use: tuple[str, ...] | None = None
    max_box_area: float = 0.8
    min_box_side: float = 0.01
    citation_s: float = 1.0
    citation_iou: float = 0.5
    confirm: Literal["yes-no", "name"] = "yes-no"
    confirm_margin: float = 0.1
    min_confirmed: float = 1.0
    answers: Literal["words", "model"] = "model"
    span_iou: float = 0.5
    blind_times: int = 3
    blind_temperature: float = 1.0
    max_blind_right: float = 0.5
    duplicate_likeness: float = 0.9

    def __post_init__(self) -> None:
        for name in (
            "max_box_area", "min_box_side", "citation_iou", "min_confirmed", "span_iou", "max_blind_right",
            "duplicate_likeness",
        ):  # fmt: skip
            within(f"filters.{name}", getattr(self, name), at_least=0, at_most=1)
        within("filters.citation_s", self.citation_s, at_least=0)
        within("filters.confirm_margin", self.confirm_margin, at_least=0, at_most=10)
        within("filters.blind_times", self.blind_times, at_least=0, at_most=64)
        within("filters.blind_temperature", self.blind_temperature, at_least=0, at_most=2)


@dataclass(frozen=True)
class BudgetParams:
    """What may be spent in all, earlier runs included. Costs are those of `price_in` and `price_out`, per
    million tokens read and written, in whatever currency."""

    max_requests: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_requests", "max_tokens", "max_cost", "price_in", "price_out"):
            within(f"budget.{name}", getattr(self, name), at_least=0)
        if self.max_cost is not None and self.price_in is None and self.price_out is None:
            raise ValueError("budget.max_cost needs price_in and price_out, per million tokens")

    def cost(self, read: float, written: float) -> float | None:
        """Of so many tokens; None without prices."""
        if self.price_in is None and self.price_out is None:
            return None
        return (read * (self.price_in or 0.0) + written * (self.price_out or 0.0)) / 1e6


@dataclass(frozen=True)
class AnnotateParams:
    """
    Args:
        endpoint: the model that annotates.
        checker: the model that the filters ask; the same one without a url.
        reply: `schema`, JSON by a schema, from any capable model; or `evidence`, the evidence grammar, from a
            model that this pipeline trained, which answers given questions.
        send: evenly spread `frames` as pictures with their times; or the `clip` itself, as `openo3 serve`
            takes it.
        box_space: the units in which the model writes boxes; `pixels` are those of the frames sent.
        tasks: short names, see `TASKS`; of images only `visual` is asked, of videos all others.
        per_video: how many records the model writes about each clip, by task.
        questions: a file of the user's own questions; without it the model writes them.
        prompts: a file of templates in place of `openo3/prompts/annotate.yaml`.
        max_tokens: the longest reply, by which budgets are reserved; null is 2,048 by schema, 512 in the
            evidence grammar.
    """

    endpoint: Endpoint = field(default_factory=Endpoint)
    checker: Endpoint = field(default_factory=Endpoint)
    reply: Literal["schema", "evidence"] = "schema"
    send: Literal["frames", "clip"] = "frames"
    box_space: Literal["relative_1000", "pixels", "normalised"] = "relative_1000"
    tasks: tuple[str, ...] = ("temporal-spatial", "visual")
    per_video: int = 2
    questions: str | None = None
    prompts: str | None = None
    frames: Shown = field(default_factory=Shown)
    filters: FilterParams = field(default_factory=FilterParams)
    budget: BudgetParams = field(default_factory=BudgetParams)
    concurrency: int = 8
    attempts: int = 5
    timeout_s: float = 180.0
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.tasks if name not in TASKS]:
            raise ValueError(f"tasks: {unknown[0]!r} is none of {', '.join(TASKS)}")
        if not self.tasks:
            raise ValueError("tasks: none is named")
        for name in ("per_video", "concurrency", "attempts", "max_tokens"):
            within(name, getattr(self, name), at_least=1)
        within("timeout_s", self.timeout_s, above=0)
        if self.reply == "evidence" and self.questions is None:
            raise ValueError(
                "reply: a model of the evidence grammar answers questions but writes none; name a file of "
                "questions"
            )
        if self.send == "clip" and self.box_space == "pixels":
            raise ValueError("box_space: pixels are those of the frames, so send frames and not the clip")

    @property
    def checked_by_clips(self) -> bool:
        """Whether an `openo3 serve` checks: it takes one clip a question, and no pictures beside it."""
        return self.reply == "evidence" and self.send == "clip" and self.checking == self.endpoint

    @property
    def reply_tokens(self) -> int:
        """The longest reply."""
        return self.max_tokens or (2048 if self.reply == "schema" else 512)

    @property
    def checking(self) -> Endpoint:
        """The endpoint that the filters ask."""
        return self.checker if self.checker.url else self.endpoint

    def tasks_of(self, kind: Literal["video", "image"]) -> list[Task]:
        """The tasks that are asked about a video or about an image."""
        return [TASKS[name] for name in self.tasks if (TASKS[name] is Task.VISUAL) == (kind == "image")]

    def space(self, size: tuple[int, int]) -> BoxSpace:
        """In which the model writes boxes about frames of that `(W, H)`."""
        if self.box_space == "pixels":
            return pixels(size)
        return RELATIVE_1000 if self.box_space == "relative_1000" else NORMALISED
