"""Evidence drawn: boxes on a frame, spans on a timeline, claims in the reasoning text.

    text, cited = highlight("The <obj>cup</obj><box>[0.1,0.2,0.4,0.6]</box>at<t>2.5</t>s ...", prefix="q7")
    picture(frame, [Mark(box, "cup", claim=cited[0].key)], caption="2.5 s", alt="a frame with one box")

A claim has one key, carried by its chip in the text, its box on the frame and its dot on the timeline
(`data-claim`), so that pointing at one lights up the others; the script for that is the page's. Boxes are
normalised 0-1, times are seconds. Everything shown is untrusted and escaped by `openo3.drawing.svg`.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from PIL import Image

from openo3.core.evidence import Claim, parse_claims
from openo3.core.geometry import NORMALISED, BoxSpace
from openo3.core.schema import Box
from openo3.drawing.svg import element, joined

PICTURE_WIDTH = 240.0
"""Width of a picture's coordinate system; stroke and label sizes are relative to it."""


_LETTER_WIDTH = 8.4  # of labels, about; fonts differ


@dataclass(frozen=True)
class Mark:
    """A box to draw (normalised): the truth (solid green) or a prediction (dashed magenta)."""

    box: Box
    label: str
    true: bool = False
    claim: str | None = None


@dataclass(frozen=True)
class Cited:
    """A claim found in a text: its number there and the key that its drawings share."""

    number: int
    key: str
    claim: Claim


@dataclass(frozen=True)
class Track:
    """One line of a timeline: spans in seconds as bars, instants in seconds as dots with their claim keys."""

    name: str
    style: str
    spans: Sequence[tuple[float, float]] = ()
    instants: Sequence[tuple[float, str | None]] = ()


def data_uri(image: Image.Image, max_side: int = 288) -> str:
    """The picture as `data:image/jpeg;base64,…`, at most `max_side` pixels a side, full colour resolution."""
    if max(image.size) > max_side:
        image = image.copy()
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=85, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def picture(image: Image.Image, marks: Sequence[Mark], caption: str, alt: str) -> Markup:
    """A frame with its boxes as a `<figure>`; predictions are drawn over the truth."""
    height = PICTURE_WIDTH * image.height / image.width
    size = {"width": PICTURE_WIDTH, "height": height}
    drawn = [_mark(mark, height) for mark in sorted(marks, key=lambda mark: not mark.true)]
    drawing = element(
        "svg",
        element("image", href=data_uri(image), preserveAspectRatio="none", **size),
        *drawn,
        viewBox=f"0 0 {PICTURE_WIDTH:g} {height:.2f}",
        role="img",
        aria_label=alt,
    )
    return element("figure", drawing, element("figcaption", caption), class_="picture")


def _mark(mark: Mark, height: float) -> Markup:
    x1, x2 = (min(max(x, 0.0), 1.0) * PICTURE_WIDTH for x in (mark.box[0], mark.box[2]))
    y1, y2 = (min(max(y, 0.0), 1.0) * height for y in (mark.box[1], mark.box[3]))
    # truth is labelled below its box and prediction above, so that two boxes that agree stay legible
    y = (y2 + 13 if y2 + 16 < height else y2 - 5) if mark.true else (y1 - 4 if y1 > 14 else y1 + 12)
    width = min(_LETTER_WIDTH * len(mark.label), PICTURE_WIDTH)
    ends = x1 > PICTURE_WIDTH * 0.6 or x1 + width > PICTURE_WIDTH
    side = {"x": max(x2, width), "text_anchor": "end"} if ends else {"x": x1, "text_anchor": None}
    return element(
        "g",
        element("rect", x=x1, y=y1, width=max(0.0, x2 - x1), height=max(0.0, y2 - y1)),
        *([element("text", mark.label, y=y, **side)] if mark.label else []),
        class_="mark true" if mark.true else "mark predicted",
        data_claim=mark.claim,
    )


def timeline(duration_s: float, tracks: Sequence[Track], sampled_s: Sequence[float] = ()) -> Markup:
    """The length of a video with one line per track and a tick for every sampled frame.

    Positions are percentages of the width, so that text keeps its size on a narrow screen. What lies
    outside `0…duration_s` is cut there.
    """
    duration_s = max(duration_s, 1e-6)
    rows = [_row(track.name, f"track {track.style}", _events(track, duration_s)) for track in tracks]
    if sampled_s:
        shots = [_percent(time_s, duration_s) for time_s in sampled_s]
        rows.append(_row("frames", "track shots", [element("line", x1=x, x2=x, y1=3, y2=11) for x in shots]))
    marks = [element("span", f"{duration_s * k / 4:.1f}") for k in range(4)]
    end = element("b", f"{duration_s:.1f}")
    rows.append(element("div", element("span", "seconds"), *marks, end, class_="scale"))
    spoken = "; ".join(f"{track.name}: {_spoken(track)}" for track in tracks)
    return element("div", *rows, class_="timeline", role="img", aria_label=f"Timeline. {spoken}")


def _row(name: str, style: str, parts: Sequence[Markup]) -> Markup:
    lane = element("rect", width="100%", height=14, rx=3, class_="lane")
    drawing = element("svg", lane, *parts, aria_hidden="true")
    return element("div", element("span", name), drawing, class_=style)


def _events(track: Track, duration_s: float) -> list[Markup]:
    bars = []
    for start, end in track.spans:
        left, right = _share(start, duration_s), _share(max(start, end), duration_s)
        place = {"x": f"{100 * left:.2f}%", "width": f"{max(0.4, 100 * (right - left)):.2f}%"}
        hint = element("title", f"{track.name}: {start:.1f} to {end:.1f} s")
        bars.append(element("rect", hint, y=1, height=12, rx=3, class_="bar", **place))
    for time_s, claim in track.instants:
        hint = element("title", f"{track.name}: evidence at {time_s:.1f} s")
        bars.append(element("circle", hint, cx=_percent(time_s, duration_s), cy=7, r=4, data_claim=claim))
    return bars


def _spoken(track: Track) -> str:
    spans = [f"{start:.1f} to {end:.1f} s" for start, end in track.spans]
    instants = [f"evidence at {time_s:.1f} s" for time_s, _ in track.instants]
    return ", ".join(spans + instants) or "nothing"


def _share(time_s: float, duration_s: float) -> float:
    return min(max(time_s / duration_s, 0.0), 1.0)


def _percent(time_s: float, duration_s: float) -> str:
    return f"{100 * _share(time_s, duration_s):.2f}%"


# Where tags stand in a text, to colour them; what a claim means is asked of `openo3.core.evidence` alone.
_PIECE = re.compile(
    r"(?P<claim><obj>[^<]*</obj>(?:<box>[^<]*</box>)+(?:at<t>[^<]*</t>s)?)"
    r"|(?P<chip><(?:obj|box|t)>[^<]*</(?:obj|box|t)>s?)"
    r"|(?P<tag></?(?:think|answer|obj|box|t)>)"
)
_CHIP = re.compile(r"<(obj|box|t)>([^<]*)</\1>(?:(?<=</t>)s)?")


def highlight(text: str, prefix: str, space: BoxSpace = NORMALISED) -> tuple[Markup, tuple[Cited, ...]]:
    """`text` with its claims and times as coloured chips, and the claims that it makes.

    `prefix` makes the claims' keys unique on a page; `space` is the space of the boxes in the text, which
    are shown as the model wrote them and returned normalised. Broken tags stay visible, dimmed.
    """
    parts: list[Any] = []
    cited: list[Cited] = []
    end = 0
    for match in _PIECE.finditer(text):
        parts.append(text[end : match.start()])
        end, piece = match.end(), match.group()
        claims = parse_claims(piece, space) if match.lastgroup == "claim" else ()
        if match.lastgroup == "tag":
            parts.append(element("span", piece, class_="tag"))
        elif claims:
            cited.append(Cited(len(cited) + 1, f"{prefix}-{len(cited) + 1}", claims[0]))
            body = _chips(piece, cited[-1].number)
            parts.append(element("span", *body, class_="claim", tabindex=0, data_claim=cited[-1].key))
        else:
            parts += _chips(piece)
    return joined([*parts, text[end:]]), tuple(cited)


def _chips(piece: str, number: int | None = None) -> Iterator[Any]:
    """A run of tags as chips, the object's with the claim's `number`; words between them stay words."""
    end = 0
    for match in _CHIP.finditer(piece):
        between = piece[end : match.start()]
        yield f" {between} " if between == "at" else between
        kind, inner = match[1], match[2].strip()
        shown = {"box": inner.replace(",", ", "), "t": f"{inner} s"}.get(kind, inner)
        badge = [element("sup", number)] if kind == "obj" and number else []
        yield element("span", *badge, shown, class_=f"chip {kind}")
        end = match.end()
    yield piece[end:]
