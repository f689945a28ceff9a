"""Charts as inline SVG: training curves, histograms, values with intervals.

Nothing but shapes and text comes out: no script, no font, no address; equal numbers give equal bytes.
Colours are left to the page's style sheet through the classes `base`, `sft`, `gspo` (and `plain`, `voted`,
`confident`), so one chart serves light and dark. A line chart carries its numbers in `data-chart`, for the
page's read-out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup

from openo3.drawing.svg import element, joined, points

WIDTH, HEIGHT = 320.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 10.0, 10.0, 24.0
MAX_POINTS = 240
"""A longer curve is averaged down to so many points: thousands of steps show no more on 300 pixels."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, drawn in the colour of `style`; hollow if it is a baseline."""

    name: str
    value: float
    low: float
    high: float
    style: str
    hollow: bool = False


@dataclass(frozen=True)
class CoverageCurve:
    """`(coverage, accuracy)`, both 0-1, by rising coverage, drawn in the colour of `style`."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """A linear map from `[low, high]` of the data to `[start, end]` of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)


def line_chart(
    title: str,
    steps: Sequence[float],
    values: Sequence[float],
    style: str = "plain",
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """A curve over training steps: what was logged drawn faint, its moving average on top.

    `y_range` fixes the vertical axis, so that charts side by side can be compared; without it the axis
    follows the data. A chart without any value says so.
    """
    if not values:
        return _figure(title, element("p", "nothing was logged", class_="absent"))
    last = number(values[-1])
    steps, values = _thinned(steps), _thinned(values)
    low, high = y_range or _padded(values)
    across = Scale(steps[0], steps[-1], LEFT, WIDTH - RIGHT)
    up = Scale(low, high, HEIGHT - BOTTOM, TOP)
    curves = []
    for kind, ys in (("raw", values), ("curve", moving_average(values))):
        path = points(map(across, steps), (up(min(max(y, low), high)) for y in ys))
        curves.append(element("polyline", points=path, class_=f"{kind} {style}"))
    data = {
        "x": [round(x, 1) for x in steps],
        "y": [number(y) for y in values],
        **{"from": steps[0], "to": steps[-1]},
        **{"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM},
    }
    spoken = f"{title}: from {number(values[0])} to {last} in {number(steps[-1])} steps"
    drawing = _drawing(HEIGHT, spoken, _axes(across, up), *curves, data_chart=json.dumps(data))
    return _figure(title, drawing, last=last)


def histogram(title: str, values: Sequence[float], style: str, peak: float, bins: int = 10) -> Markup:
    """How `values` in 0-1 are spread: the share of records in each of `bins` equal bins, and their mean.

    `peak` is the share at the top of the axis, the same for charts that are to be compared.
    """
    shares = bin_shares(values, bins)
    across, up = Scale(0.0, 1.0, LEFT, WIDTH - RIGHT), Scale(0.0, peak, HEIGHT - BOTTOM, TOP)
    bars = []
    for k, share in enumerate(shares):
        left, right = across(k / bins), across((k + 1) / bins)
        hint = element("title", f"{k / bins:.1f} to {(k + 1) / bins:.1f}: {share:.0%}")
        size = {"width": right - left - 2, "height": up(0.0) - up(share)}
        bars.append(element("rect", hint, x=left + 1, y=up(share), rx=2, class_=f"bar {style}", **size))
    mean = fmean(values) if values else 0.0
    marker = element("line", x1=across(mean), x2=across(mean), y1=TOP, y2=HEIGHT - BOTTOM, class_="mean")
    shown = ", ".join(f"{share:.0%}" for share in shares)
    spoken = f"{title}: mean {mean:.2f}; shares from lowest to highest {shown}"
    drawing = _drawing(HEIGHT, spoken, _axes(across, up, percent=True), *bars, marker)
    return _figure(title, drawing, last=f"mean {mean:.2f}")


def interval_plot(title: str, rows: Sequence[tuple[str, Sequence[Estimate]]]) -> Markup:
    """One row per metric with a dot and its 95 % interval per model; values in percent."""
    width, left, step = 480.0, 58.0, 13.0
    ends = [end for _, estimates in rows for e in estimates for end in (e.value, e.high)]
    top = max(100.0, *(end for end in ends if math.isfinite(end)))
    across = Scale(0.0, top, left, width - 44)
    parts, y = [], 8.0
    for name, estimates in rows:
        height = step * len(estimates) + 10
        parts.append(element("line", x1=0, x2=width, y1=y, y2=y, class_="grid"))
        middle = y + height / 2 + 4
        parts.append(element("text", name, x=left - 10, y=middle, text_anchor="end", class_="axis strong"))
        parts += [_estimate(e, across, y + 5 + step * (k + 0.5)) for k, e in enumerate(estimates)]
        y += height
    for value in ticks(0.0, top, 5):
        x = across(value)
        parts.insert(0, element("line", x1=x, x2=x, y1=8, y2=y, class_="grid"))
        parts.append(element("text", number(value), x=x, y=y + 15, text_anchor="middle", class_="axis"))
    spoken = "; ".join(f"{n}: " + ", ".join(f"{e.name} {e.value:.1f}" for e in es) for n, es in rows)
    return _figure(title, _drawing(y + 20, f"{title}: {spoken}", *parts, width=width))


def coverage_chart(title: str, curves: Sequence[CoverageCurve]) -> Markup:
    """Accuracy against the share of questions that are answered, the most confident first.

    Each curve is labelled in its colour; left of its first point it is level.
    """
    across, up = Scale(0.0, 1.0, LEFT, WIDTH - RIGHT), Scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    drawn, names = [], []
    for curve in curves:
        xs, ys = zip(*curve.points, strict=True)
        path = points(map(across, (0.0, *xs)), map(up, (ys[0], *ys)))
        drawn.append(element("polyline", points=path, class_=f"curve {curve.style}"))
        names.append(element("span", curve.name, class_=f"key {curve.style}"))
    spoken = "; ".join(
        f"{curve.name}: " + ", ".join(f"{y:.0%} at {x:.0%} coverage" for x, y in curve.points)
        for curve in curves
    )
    axes = _axes(across, up, percent=True, percent_across=True)
    return _figure(title, _drawing(HEIGHT, f"{title}: {spoken}", axes, *drawn), keys=names)


def _estimate(estimate: Estimate, across: Scale, y: float) -> Markup:
    low, high = (across(min(bound, across.high)) for bound in (estimate.low, estimate.high))
    x = across(min(estimate.value, across.high))
    hint = f"{estimate.name}: {estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"
    style = f"{estimate.style} hollow" if estimate.hollow else estimate.style
    return element(
        "g",
        element("title", hint),
        element("line", x1=low, x2=high, y1=y, y2=y, class_="interval"),
        element("circle", cx=x, cy=y, r=4.2),
        element("text", f"{estimate.value:.1f}", x=high + 7, y=y + 3.5, class_="axis"),
        class_=f"estimate {style}",
    )


def moving_average(values: Sequence[float], window: int | None = None) -> list[float]:
    """Centred mean over `window` values, an eighth of the series unless told; shorter at both ends."""
    half = (window if window is not None else max(1, len(values) // 8)) // 2
    return [fmean(values[max(0, k - half) : k + half + 1]) for k in range(len(values))]


def bin_shares(values: Sequence[float], bins: int = 10) -> list[float]:
    """The share of `values` (0-1) in each of `bins` equal bins; 1 belongs to the last.

    >>> bin_shares([0.0, 0.04, 0.95, 1.0])[::9]
    [0.5, 0.5]
    """
    counts = [0] * bins
    for value in values:
        counts[min(int(value * bins), bins - 1)] += 1
    return [count / max(1, len(values)) for count in counts]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) inside `[low, high]`, about `count` of them.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if not span > 0:
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.75)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def number(value: float) -> str:
    """Three digits, as short as they can be: `0.5`, `120`, `1e-4`.

    >>> [number(value) for value in (0.5, 120.0, 0.0001, 1234.5)]
    ['0.5', '120', '1e-4', '1234']
    """
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (0.0 if 0 <= low <= pad * 4 else low - pad), high + pad


def _thinned(values: Sequence[float]) -> list[float]:
    size = math.ceil(len(values) / MAX_POINTS)
    return [fmean(values[k : k + size]) for k in range(0, len(values), size)]


def _axes(across: Scale, up: Scale, percent: bool = False, percent_across: bool = False) -> Markup:
    parts = []
    for value in ticks(up.low, up.high, 4):
        y = up(value)
        label = f"{value:.0%}" if percent else number(value)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", label, x=LEFT - 6, y=y + 3.5, text_anchor="end", class_="axis"))
    for value in ticks(across.low, across.high, 5):
        text = {"x": across(value), "y": HEIGHT - 8, "text_anchor": "middle", "class_": "axis"}
        parts.append(element("text", f"{value:.0%}" if percent_across else number(value), **text))
    return joined(parts)


def _drawing(height: float, spoken: str, *parts: Markup, width: float = WIDTH, **attributes: str) -> Markup:
    box = f"0 0 {width:g} {height:g}"
    return element("svg", *parts, viewBox=box, role="img", aria_label=spoken, **attributes)


def _figure(title: str, drawing: Markup, last: str = "", keys: Sequence[Markup] = ()) -> Markup:
    """`last` is the number that stands at the right of the title until the reader points at another; `keys`
    name curves."""
    caption = element("figcaption", element("b", title), *keys, element("output", last))
    return element("figure", caption, drawing, class_="chart")
