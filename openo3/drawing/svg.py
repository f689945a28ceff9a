"""Build inline SVG and HTML from escaped parts. No other module assembles markup in code.

    >>> element("text", "a < b", x=3.0, class_="axis")
    Markup('<text x="3" class="axis">a &lt; b</text>')

Whatever is not already `Markup` is escaped, so a model's output or an annotation can never become markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape


def element(name: str, *children: Any, **attributes: Any) -> Markup:
    """`<name attributes>children</name>`; floats keep two decimals, attributes that are None are left out.

    `class_` becomes `class`, other underscores become hyphens (`stroke_width` → `stroke-width`).
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), coordinate(value))
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, joined(children))


def joined(parts: Iterable[Any]) -> Markup:
    """Parts one after the other, each escaped unless it is markup already."""
    return Markup("").join(escape(part) for part in parts)


def coordinate(value: Any) -> Any:
    """A float for SVG: at most two decimals, no trailing zeros, no negative zero."""
    if not isinstance(value, float):
        return value
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


def points(xs: Iterable[float], ys: Iterable[float]) -> str:
    """The `points` attribute of a polyline: `"x,y x,y"`."""
    return " ".join(f"{coordinate(float(x))},{coordinate(float(y))}" for x, y in zip(xs, ys, strict=True))
