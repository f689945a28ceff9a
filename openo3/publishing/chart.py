"""The picture of the results: bars with 95 % intervals, one for each checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from openo3.benchmarks.conditions import CONDITIONS
from openo3.checkpoints import CHECKPOINTS
from openo3.drawing.svg import element
from openo3.publishing.results import Level, levels, records_of
from openo3.publishing.run import Run

WIDTH, LEFT, RIGHT = 760, 190, 60
BAR, GAP, HEAD = 11, 10, 34
COLOURS = {"base": "#9aa4b2", "sft": "#3f7fbf", "gspo": "#d9822b"}
OTHER = "#6b4fa1"
_TEXT = {"font_family": "system-ui, sans-serif", "font_size": 12, "fill": "#24292f"}


def results_picture(run: Run) -> Markup:
    """A self-contained SVG file with a white background."""
    models = [model for model in dict.fromkeys((*CHECKPOINTS, run.name)) if model in run.evaluated]
    parts: list[Markup] = []
    y = 16
    for benchmark in run.benchmarks:
        asked = {model: condition for model in models if (condition := run.condition(model, benchmark))}
        numbers = {
            m: {level.metric: level for level in levels(run, m, benchmark, c)} for m, c in asked.items()
        }
        parts += _heading(records_of(run, benchmark), asked, y)
        y += HEAD
        for metric, level in numbers[run.name].items():
            parts.append(element("text", level.title, x=LEFT - 8, y=y + BAR, text_anchor="end", **_TEXT))
            for model in asked:
                if metric in numbers[model]:
                    parts += _bar(numbers[model][metric], COLOURS.get(model, OTHER), y)
                y += BAR + 2
            y += GAP
        y += GAP
    background = element("rect", width=WIDTH, height=y, fill="#ffffff")
    drawn = element(
        "svg", background, *parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {y}",
        width=WIDTH, height=y, role="img", aria_label="Results in percent with 95 % intervals",
    )  # fmt: skip
    return Markup('<?xml version="1.0" encoding="UTF-8"?>\n') + drawn + Markup("\n")


def _heading(title: str, asked: dict[str, str], y: int) -> Iterator[Markup]:
    yield element("text", title, x=LEFT, y=y, **{**_TEXT, "font_size": 14, "font_weight": "bold"})
    x = LEFT
    for model, condition in asked.items():
        label = CONDITIONS[condition].label if condition in CONDITIONS else condition
        name = f"{CHECKPOINTS.get(model, model)}, {label}"
        yield element("rect", x=x, y=y + 8, width=10, height=10, fill=COLOURS.get(model, OTHER))
        yield element("text", name, x=x + 14, y=y + 17, **_TEXT)
        x += 30 + 7 * len(name)


def _bar(level: Level, colour: str, y: int) -> Iterator[Markup]:
    yield element("rect", x=LEFT, y=y, width=_width(level.value), height=BAR, fill=colour)
    middle, end = y + BAR / 2, _width(level.value)
    if level.low is not None and level.high is not None:
        end = max(end, _width(level.high))
        x1, x2 = LEFT + _width(level.low), LEFT + _width(level.high)
        yield element("line", x1=x1, x2=x2, y1=middle, y2=middle, stroke="#24292f", stroke_width=1.2)
    yield element("text", f"{level.value:.1f}", x=LEFT + end + 6, y=y + BAR - 1, **{**_TEXT, "font_size": 11})


def _width(percent: float) -> float:
    """The length of a bar in pixels. Numbers over 100 (mLGM) are cut off at the end of the scale."""
    return (WIDTH - LEFT - RIGHT) * min(max(percent, 0.0), 100.0) / 100
