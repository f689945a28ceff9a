"""Held-out questions shown one by one: which ones, and the drawings and texts of each model's answers.

Questions are chosen by rule, not by eye: in turn the greatest gain of GSPO over the base, the median GSPO
score, the greatest loss of GSPO against SFT and the lowest GSPO score, no video twice. So a page shows
failures too, and the same results always give the same page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from markupsafe import Markup

from openo3.benchmarks.base import frames_of
from openo3.benchmarks.conditions import Condition
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS
from openo3.core.evidence import Completion, parse_completion, second_key
from openo3.core.geometry import BoxSpace, box_iou
from openo3.core.reading import final_answer, read_times, read_where
from openo3.core.schema import Box
from openo3.drawing.overlay import Cited, Mark, Track, highlight, picture, timeline
from openo3.drawing.svg import element
from openo3.media.frame_store import Frame, FrameStore
from openo3.report.inputs import Answers, Inputs

SHOWN_SECONDS = 3
SHOWN_EVIDENCE = 4
GALLERY = "gallery/index.html"
"""Where `openo3 gallery` writes its page, seen from the report."""
CHOSEN = (
    "Chosen by rule: in turn the greatest gain of GSPO over the base, a typical GSPO score, the greatest "
    "loss of GSPO against SFT and the lowest GSPO score; no video twice. Each model is asked as in the main "
    "table."
)


@dataclass(frozen=True)
class Column:
    """One model's answer to a question; if those were asked, also `when` and `where`, with `scores`."""

    model: str
    asked: Condition
    correct: bool
    reasoning: Markup
    answer: Markup
    evidence: Sequence[Markup]
    completions: Sequence[tuple[str, str]]
    scores: str = ""
    when: Markup | None = None
    where: Sequence[Markup] = ()


@dataclass(frozen=True)
class Example:
    key: str
    role: str
    question: str
    meta: str
    truth: str
    timeline: Markup
    columns: Sequence[Column]
    options: Sequence[str] = ()
    gallery: str = ""


@dataclass(frozen=True)
class Scene:
    """What is drawn of one model's answers: `truth` are the true boxes of `name` by second, normalised."""

    key: str
    answers: Answers
    shown: Sequence[Frame]
    asked: Condition
    truth: Mapping[float, Box] = field(default_factory=dict)
    name: str = ""

    def said(self, kind: str) -> tuple[str, BoxSpace]:
        """The completion to a question and the space of the boxes in it."""
        line = self.answers[kind]
        size = line["box_space"]["size"]
        return line["completion"], BoxSpace(line["box_space"]["kind"], size and tuple(size))

    def completion(self, kind: str) -> Completion:
        return parse_completion(*self.said(kind))

    def nearest(self, time_s: float) -> int:
        """The shown frame nearest to a time."""
        return min(range(len(self.shown)), key=lambda k: (abs(self.shown[k].time_s - time_s), k))

    def seconds(self) -> list[float]:
        """Of each third of the annotated seconds the one nearest to a shown frame."""
        every = sorted(self.truth)
        count = min(SHOWN_SECONDS, len(every))
        parts = (every[len(every) * k // count : len(every) * (k + 1) // count] for k in range(count))
        return [min(part, key=lambda s: (abs(self.shown[self.nearest(s)].time_s - s), s)) for part in parts]


def choose(
    scores: Mapping[str, Sequence[float]], media: Sequence[str | None], count: int
) -> list[tuple[str, int]]:
    """`count` records as (why, index), in the order of the rule; `scores[model][index]` in 0-1.

    Passed over are roles that have nothing to show (no loss anywhere, say) and records whose media is None.
    """
    base, sft, gspo = (scores[model] for model in CHECKPOINTS)
    middle = median(gspo) if gspo else 0.0
    roles: dict[str, Callable[[int], float]] = {  # a record fits a role if it is worth more than 0
        "Gained over base": lambda k: gspo[k] - base[k],
        "Typical": lambda k: 2.0 - abs(gspo[k] - middle),
        "Lost against SFT": lambda k: sft[k] - gspo[k],
        "Failure": lambda k: 0.6 - gspo[k],
    }
    chosen: list[tuple[str, int]] = []
    left = {k for k in range(len(gspo)) if media[k] is not None}
    while len(chosen) < count and left:
        for role, worth in roles.items():
            best = max(left, key=lambda k: (worth(k), -k), default=None)
            if best is None or worth(best) <= 0 or len(chosen) == count:
                continue
            chosen.append((role, best))
            left -= {k for k in left if media[k] == media[best]}
    return chosen


def example(
    benchmark: str,
    inputs: Inputs,
    frames: FrameStore,
    scores: Mapping[str, Mapping[str, float]],
    role: str,
    index: int,
) -> Example:
    """One record with all models' answers; `scores[model]` are its scores by column."""
    record = inputs.results[inputs.key("base", benchmark)][index]
    truth, parts = BENCHMARKS[benchmark].truth(record), BENCHMARKS[benchmark].display.parts
    shown = frames.frames(frames_of(record))
    columns, tracks = [], [Track("Truth", "truth", [truth.span])] if truth.span else []
    for model, title in CHECKPOINTS.items():
        answers = inputs.answers[inputs.key(model, benchmark)][index]
        asked = inputs.asked(model, benchmark)
        scene = Scene(f"{benchmark}-{index}-{model}", answers, shown, asked, truth.boxes, truth.name)
        column, track = _column(model, title, scene, scores[model])
        if parts:
            column, track = _with_parts(column, track, scene, parts, scores[model])
        columns.append(column)
        tracks.append(track)
    facts = [*truth.labels, f"{record['duration_s']:.1f} s", f"record {index}"]
    return Example(
        key=f"{benchmark}-{index}",
        role=role,
        question=record["question"],
        meta=" · ".join(fact for fact in facts if fact),
        truth=truth.text,
        timeline=timeline(record["duration_s"], tracks, [frame.time_s for frame in shown]),
        columns=columns,
        options=truth.options,
        gallery=gallery_address(benchmark, index, inputs),
    )


def gallery_address(benchmark: str, index: int, inputs: Inputs) -> str:
    """The gallery's page at a record, GSPO beside the base, each asked as in the main table.

    `openo3/gallery/gallery.js` says how it reads the part after `#`.
    """
    left, right = (f"{model}:{inputs.asked(model, benchmark).name}" for model in ("gspo", "base"))
    return f"{GALLERY}#b={benchmark}&r={index}&left={left}&right={right}"


def _with_parts(
    column: Column, track: Track, scene: Scene, parts: Mapping[str, str], scores: Mapping[str, float]
) -> tuple[Column, Track]:
    """With the answers to further questions about the record, `when` and `where`, and their scores."""
    said = " · ".join(f"{part} {scores[name]:.2f}" for part, name in parts.items())
    column = replace(column, scores=said)
    if "when" in parts:
        when = scene.completion("when")
        text, _ = _highlighted(final_answer(when.text), f"{scene.key}-when", when.space, "no answer")
        span = read_times(when.text)
        column, track = replace(column, when=text), replace(track, spans=[span] if span else [])
    if "where" in parts:
        column = replace(column, where=where_pictures(scene))
    return column, track


def _column(model: str, title: str, scene: Scene, scores: Mapping[str, float]) -> tuple[Column, Track]:
    """What a model says to the record's first question, and the times that it cites."""
    kind = next(iter(scene.answers))
    said = scene.completion(kind)
    missing = "none was asked for" if scene.asked.bare else "no reasoning block"
    reasoning, cited = _highlighted(said.reasoning, f"{scene.key}-{kind}", said.space, missing)
    answer, _ = _highlighted(final_answer(said.text), f"{scene.key}-answer", said.space, "no answer")
    column = Column(
        model=model,
        asked=scene.asked,
        correct=scores["acc"] > 0,
        reasoning=reasoning,
        answer=answer,
        evidence=evidence_pictures(scene, cited),
        completions=[(kind, line["completion"]) for kind, line in scene.answers.items()],
    )
    instants = [(c.claim.time_s, c.key) for c in cited if c.claim.time_s is not None]
    return column, Track(title, model, [], instants)


def _highlighted(
    text: str | None, prefix: str, space: BoxSpace, absent: str
) -> tuple[Markup, tuple[Cited, ...]]:
    return highlight(text, prefix, space) if text else (element("span", absent, class_="none"), ())


def evidence_pictures(scene: Scene, cited: Sequence[Cited]) -> list[Markup]:
    """The frames nearest to the cited times, with the claims about them and the truth if known there."""
    by_frame: dict[int, list[Cited]] = {}
    for one in cited:
        if one.claim.time_s is not None:
            by_frame.setdefault(scene.nearest(one.claim.time_s), []).append(one)
    pictures = []
    for k, claims in list(by_frame.items())[:SHOWN_EVIDENCE]:
        time_s = scene.shown[k].time_s
        marks = [Mark(box, str(c.number), claim=c.key) for c in claims for box in c.claim.boxes]
        second = min(scene.truth, key=lambda s: (abs(s - time_s), s), default=None)
        if second is not None and abs(second - time_s) <= 0.5:
            marks.append(Mark(scene.truth[second], scene.name, true=True))
        said = ", ".join(f"{c.number} at {c.claim.time_s:g} s" for c in claims)
        alt = f"Frame at {time_s:.1f} s with the cited boxes of " + ", ".join(c.claim.name for c in claims)
        caption = f"{time_s:.1f} s (cited: {said})"
        pictures.append(picture(scene.shown[k].image, marks, caption, alt))
    return pictures


def where_pictures(scene: Scene) -> list[Markup]:
    """A few annotated seconds with the true box and the answered ones of that second."""
    where = read_where(*scene.said("where"))
    pictures = []
    for second in scene.seconds():
        frame, boxes = scene.shown[scene.nearest(second)], where.get(second_key(second), ())
        iou = max((box_iou(box, scene.truth[second]) for box in boxes), default=0.0)
        marks = [Mark(scene.truth[second], "", true=True), *(Mark(box, "") for box in boxes)]
        caption = f"second {second:g}: " + (f"IoU {iou:.2f}" if boxes else "no box")
        if abs(frame.time_s - second) > 0.25:
            caption += f" (frame at {frame.time_s:.1f} s)"
        alt = f"Frame at {frame.time_s:.1f} s, true and answered box of {scene.name}, {caption}"
        pictures.append(picture(frame.image, marks, caption, alt))
    return pictures


@dataclass(frozen=True)
class Query:
    """One question about a span, with everybody's spans."""

    text: str
    timeline: Markup
    scores: str


def query(benchmark: str, inputs: Inputs, scores: Mapping[str, float], index: int) -> Query:
    """One record whose answer has a span; `scores[model]` is its score by the benchmark's main metric."""
    record = inputs.results[inputs.key("base", benchmark)][index]
    true = BENCHMARKS[benchmark].truth(record).span
    tracks = [Track("Truth", "truth", [true] if true else [])]
    for model, title in CHECKPOINTS.items():
        said = inputs.results[inputs.key(model, benchmark)][index]["answer_temporal"]
        tracks.append(Track(title, model, [tuple(said)] if said else []))
    marks = " · ".join(f"{title} {scores[model]:.2f}" for model, title in CHECKPOINTS.items())
    metric = BENCHMARKS[benchmark].display.main[0].removeprefix("m_")
    return Query(record["question"], timeline(record["duration_s"], tracks), f"{metric}: {marks}")
