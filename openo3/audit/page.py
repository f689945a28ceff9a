"""The page of an audit: its numbers, and the most necessary and most decorative claims as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import exp
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from openo3.audit.run import Answer, Answers
from openo3.drawing.overlay import Mark, highlight, picture
from openo3.drawing.svg import element
from openo3.media.hiding import hide, only
from openo3.model.necessity import CHAIN, FRAMES, LATER, MAIN, REASONED, Place, PlacedClaim
from openo3.report.charts import Scale, number, ticks

SHOWN = 6
"""How many claims of each kind the page shows."""

READINGS = {
    CHAIN: ("from the claim on", "what it names, object by object, and the answer"),
    LATER: ("after the claim", "without its own name, unless that is the answer"),
    FRAMES: ("without reasoning", "the answer must come from the frames"),
    REASONED: ("with the whole reasoning", "the answer alone, which it may have named"),
}
COLUMNS = ("log-probability", "cited hidden", "random hidden", "necessity", "decorative claims")


@dataclass(frozen=True)
class Shown:
    """One claim with its pictures."""

    key: str
    question: str
    number: int
    necessity: str
    meta: str
    reasoning: Markup
    answer: str
    pictures: Sequence[Markup]


@dataclass(frozen=True)
class Group:
    """Claims that were chosen by one rule."""

    key: str
    title: str
    note: str
    shown: Sequence[Shown]


def html(report: Mapping[str, Any], answers: Answers) -> str:
    """One self-contained page about a report of `openo3.audit.summary` and the answers that it is about."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = (
        (files("openo3.report") / name).read_text(encoding="utf-8") for name in ("style.css", "page.js")
    )
    template = (files("openo3.audit") / "page.html.j2").read_text(encoding="utf-8")
    counts, numbers = report["counts"], report["numbers"]
    return environment.from_string(template).render(
        title=f"Does the evidence matter? {report['model']}",
        style=Markup(style),
        script=Markup(script),
        lead=_lead(report),
        facts=[
            ("Benchmark", answers.run.benchmark.title),
            ("Records", f"{counts['records']:,}"),
            ("Answers with evidence", f"{counts['answers']:,}"),
            ("Claims", f"{counts['claims']:,}"),
            *((f"Left out, {reason}", f"{count:,}") for reason, count in counts["claims_left_out"].items()),
        ],
        columns=COLUMNS,
        necessity=[
            (name, detail, [*_necessity_cells(numbers[reading])])
            for reading, (name, detail) in READINGS.items()
        ],
        sufficiency=[
            (READINGS[reading][0], [*_sufficiency_cells(found)])
            for reading, found in report["sufficiency"].items()
        ],
        precision=_precision(numbers["precision"]),
        dots=dots(report["claims"]),
        groups=[*_groups(report["claims"], answers)],
        hiding=_hiding(report["settings"]["hiding"]),
    )


def _lead(report: Mapping[str, Any]) -> str:
    found = report["numbers"][MAIN]
    need, decorative = found["necessity"], found["decorative"]
    return (
        f"Hiding what a claim cites costs the text from there to the answer {need['value']:.2f} nats more "
        f"than hiding a random place (95 % interval {need['low']:.2f} to {need['high']:.2f}). "
        f"{decorative['value']:.0%} of the claims are decorative ({decorative['low']:.0%} to "
        f"{decorative['high']:.0%}): no such cost shows."
    )


def _necessity_cells(found: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, str]]:
    for name in ("given", "cited", "random", "necessity"):
        yield _cell(found[name])
    yield _cell(found["decorative"], percent=True)


def _sufficiency_cells(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield f"{found['given']['value'] - found['blank']['value']:.2f} nats", ""
    for name in ("sufficiency", "by_chance"):
        yield _cell(found[name], percent=True) if found[name] else ("-", "the frames add too little")


def _cell(interval: Mapping[str, float], percent: bool = False) -> tuple[str, str]:
    def written(value: float) -> str:
        return f"{value:.0%}" if percent else f"{value:.2f}"

    return written(interval["value"]), f"{written(interval['low'])} to {written(interval['high'])}"


def _precision(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    right, iou = found["right"], found["iou"]
    return (
        f"Precision of the evidence: {found['claims']:,} claims name the object whose true box is known at "
        f"that time. {right['value']:.0%} of them ({right['low']:.0%} to {right['high']:.0%}) overlap it by "
        f"at least half, mean IoU {iou['value']:.2f}."
    )


def _hiding(hiding: Mapping[str, Any]) -> str:
    fill = {
        "border": "painted over from the pixels around it",
        "surroundings": "painted over in the median colour around it",
        "grey": "painted over in plain grey",
    }[hiding["fill"]]
    return (
        f"A box is widened by {hiding['margin']:.0%} of its size on each side and {fill}, in every stored "
        f"frame within {hiding['around_s']:g} s of the cited time (the nearest one if there is none). It is "
        f"compared with {hiding['draws']} random places of the same size in the same frames."
    )


def dots(claims: Sequence[Mapping[str, Any]]) -> Markup:
    """Every claim's necessity in the main reading with its interval, from the lowest to the highest."""
    found = sorted((claim["readings"][MAIN] for claim in claims), key=lambda one: one["necessity"])
    width, height, left = 960.0, 260.0, 44.0
    low = min(0.0, *(one["interval"][0] for one in found))
    high = max(0.1, *(one["interval"][1] for one in found))
    up, across = Scale(low, high, height - 12, 10), Scale(0, max(1, len(found) - 1), left + 8, width - 8)
    parts = []
    for value in ticks(low, high, 5):
        style = "zero" if value == 0 else "grid"
        parts.append(element("line", x1=left, x2=width, y1=up(value), y2=up(value), class_=style))
        label = {"x": left - 6, "y": up(value) + 3.5, "text_anchor": "end", "class_": "axis"}
        parts.append(element("text", number(value), **label))
    for place, one in enumerate(found):
        x, (bottom, top) = across(place), one["interval"]
        hint = element("title", f"{one['necessity']:.2f} [{bottom:.2f}, {top:.2f}] nats")
        bar = element("line", x1=x, x2=x, y1=up(bottom), y2=up(top), class_="bar")
        dot = element("circle", cx=x, cy=up(one["necessity"]), r=2.6)
        parts.append(element("g", hint, bar, dot, class_="decorative" if one["decorative"] else None))
    spoken = (
        f"Necessity of {len(found)} claims, from {found[0]['necessity']:.2f} to {found[-1]['necessity']:.2f}"
    )
    drawing = element("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=spoken)
    caption = element("figcaption", element("b", "Necessity of each claim, nats"))
    return element("figure", caption, drawing, class_="chart dots")


def _groups(claims: Sequence[Mapping[str, Any]], answers: Answers) -> Iterator[Group]:
    def need(claim: Mapping[str, Any]) -> float:
        return claim["readings"][MAIN]["necessity"]

    necessary = [claim for claim in claims if not claim["readings"][MAIN]["decorative"]]
    decorative = [claim for claim in claims if claim["readings"][MAIN]["decorative"]]
    for key, title, note, ordered in (
        (
            "necessary",
            "The most necessary claims",
            "Chosen by rule: the highest necessity, no video twice.",
            sorted(necessary, key=need, reverse=True),
        ),
        (
            "decorative",
            "The most decorative claims",
            "Chosen by rule: the necessity nearest to 0 or below among the decorative ones, no video twice.",
            sorted(decorative, key=lambda claim: max(need(claim), 0.0)),
        ),
    ):
        chosen = _no_video_twice(ordered)[:SHOWN]
        if chosen:
            yield Group(key, title, note, [_shown(claim, answers, key) for claim in chosen])


def _no_video_twice(claims: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    first: dict[str, Mapping[str, Any]] = {}
    for claim in claims:
        first.setdefault(claim["video"], claim)
    return [*first.values()]


def _shown(claim: Mapping[str, Any], answers: Answers, group: str) -> Shown:
    answer = next(each for each in answers.of_record(claim["record"]) if each.kind == claim["kind"])
    one, key = claim["readings"][MAIN], f"{group}-{claim['record']}-{claim['claim']}"
    reasoning, cited = highlight(answer.completion.reasoning or "", key, answer.completion.space)
    placed = answer.claims[claim["claim"]]
    mark = next((each for each in cited if each.claim == placed.claim), None)
    low, high = one["interval"]
    when = "" if claim["time_s"] is None else f" at {claim['time_s']:g} s"
    record = answers.run.results[claim["record"]]
    return Shown(
        key=key,
        question=str(record.get("question", "")),
        number=mark.number if mark else claim["claim"] + 1,
        necessity=f"{one['necessity']:.2f} nats [{low:.2f}, {high:.2f}]",
        meta=f"{claim['name']}{when} · record {claim['record']} · score {claim['score']:.2f}",
        reasoning=reasoning,
        answer=answer.completion.answer or "",
        pictures=[*_pictures(answer, placed, claim, answers, mark.key if mark else None)],
    )


def _pictures(
    answer: Answer, placed: PlacedClaim, claim: Mapping[str, Any], answers: Answers, key: str | None
) -> Iterator[Markup]:
    """The frame nearest to the claim, as it is, without the cited place, without a random one, and with
    nothing else; with the probability of what is scored."""
    one, hiding = claim["readings"][MAIN], answers.hiding
    time_s = placed.claim.time_s or 0.0
    frames = answer.prompt.frames
    frame = min((frames[index] for index in placed.place.frames), key=lambda each: abs(each.time_s - time_s))
    image, name = frame.image, placed.claim.name
    other, *_ = answer.question.others(claim["claim"], hiding)
    truth = answers.run.benchmark.truth(answers.run.results[answer.record])
    second = min(truth.boxes, key=lambda each: abs(each - frame.time_s), default=None)
    marks = [Mark(box, name, claim=key) for box in placed.claim.boxes]
    if second is not None and abs(second - frame.time_s) <= 0.5:
        marks.append(Mark(truth.boxes[second], f"{truth.name}, true", true=True))
    moved, without = _outlined(other, image.size), hide(image, other.areas, hiding.fill)
    shown = (
        ("As it is", image, marks, one["given"]),
        ("Cited place hidden", hide(image, placed.place.areas, hiding.fill), [], one["hidden"]),
        ("A random place hidden", without, moved, one["elsewhere"]),
        ("Nothing else shown", only(image, placed.place.areas), [], None),
    )
    for title, drawn, drawn_marks, value in shown:
        worth = "" if value is None else f": what is scored has probability {_probability(value)}"
        if value is not None and title.startswith("A random"):
            worth = f": on average over {hiding.draws} places, {_probability(value)}"
        caption = f"{title}, {frame.time_s:.1f} s{worth}"
        yield picture(drawn, drawn_marks, caption, f"Frame at {frame.time_s:.1f} s. {caption}")


def _outlined(place: Place, size: tuple[int, int]) -> list[Mark]:
    width, height = size
    return [
        Mark((left / width, top / height, right / width, bottom / height), "")
        for left, top, right, bottom in place.areas
    ]


def _probability(log_probability: float) -> str:
    value = exp(log_probability)
    return f"{value:.2f}" if value >= 0.01 else f"{value:.0e}"
