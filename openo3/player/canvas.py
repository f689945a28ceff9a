"""One frame of a movie: question above, clip on the left, text on the right, time line below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from PIL import Image, ImageColor, ImageDraw

from openo3.media.probe import Media
from openo3.player.storyboard import Scene
from openo3.player.tracks import Mark, is_doubtful, object_of
from openo3.player.typesetting import Fonts, Text, Token

PAPER, INK, SOFT, FAINT, LIT = "#ffffff", "#14181f", "#545e6b", "#e7ebf0", "#ffe48a"
SPAN = "#8db7ea"
COLOURS = ("#c2188f", "#1766c9", "#0a7a40", "#b04d06", "#6b45c9", "#0b747d", "#a8261f")
"""The colours of objects, as in `player.css`."""

_WIDTH, _MARGIN, _GAP = 880, 24, 22
_CLIP = (500, 400)  # the most that the clip takes
_TEXT_HEIGHT = 300  # the least
_LANE = 34  # the time line
_QUESTION_LINES = 3
_QUESTION, _SAID, _ANSWER, _HEADING, _LABEL = 25, 17, 20, 14, 14


class Canvas:
    """Draws the frames of one movie; `size` is `(W, H)`, both even, `clip_size` that of the clip on it."""

    def __init__(self, data: Mapping[str, Any], media: Media, scale: float = 1.0) -> None:
        self._data, self._media, self._scale = data, media, scale
        self._claims: Sequence[Mapping[str, Any]] = data["claims"]
        self._pieces: Sequence[Any] = data["shown"]["reasoning"]
        self._answer: Sequence[Any] = data["shown"]["answer"] or ["(no answer)"]
        objects = list(dict.fromkeys(object_of(claim) for claim in self._claims))
        self._colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(objects)}
        words = [piece for piece in (*self._pieces, *self._answer) if isinstance(piece, str)]
        names = [claim["object"] for claim in self._claims]
        self._fonts = Fonts("".join([data["question"], *words, *names]))
        self._lay_out()
        self._page = lru_cache(maxsize=4)(self._drawn_page)

    def _lay_out(self) -> None:
        px, (width, height) = self._px, self._media.size
        fit = min(px(_CLIP[0]) / width, px(_CLIP[1]) / height)
        self.clip_size = max(2, round(width * fit) // 2 * 2), max(2, round(height * fit) // 2 * 2)
        self._question = self._set_question()
        top = px(_MARGIN) + self._question.height + px(8)
        left = px(_MARGIN) + self.clip_size[0] + px(_GAP)
        self._text = self._set_text(px(_WIDTH - _MARGIN) - left)
        body = max(self.clip_size[1], min(self._text.height, px(_TEXT_HEIGHT)))
        self._top, self._left, self._body = round(top), round(left), round(body)
        lane = px(_LANE) if self._media.duration_s else 0
        self.size = round(px(_WIDTH)) // 2 * 2, round(top + body + lane + px(_MARGIN)) // 2 * 2

    def _set_question(self) -> Text:
        """The question, cut to a few lines."""
        words, cut = self._data["question"].split(), ""
        while True:
            text = Text(self._fonts, self._px(_WIDTH - 2 * _MARGIN))
            text.add([" ".join(words) + cut], (), self._px(_QUESTION), 0)
            if text.lines <= _QUESTION_LINES:
                return text
            words, cut = words[:-1], " …"

    def _set_text(self, width: float) -> Text:
        text, px = Text(self._fonts, width), self._px
        if self._pieces:
            text.add(["Reasoning"], (), px(_HEADING), 0)
            text.add(self._pieces, self._claims, px(_SAID), 1)
            text.gap(px(10))
        last = len(self._pieces) + 1
        text.add(["Answer"], (), px(_HEADING), last, step=0)
        text.add(self._answer, self._claims, px(_ANSWER), last, step=0)
        return text

    def _px(self, length: float) -> float:
        return length * self._scale

    def claims_of(self, scene: Scene) -> set[int]:
        """The claims whose chips are visible in a scene."""
        pieces = [*self._pieces[: scene.pieces], *(self._answer if scene.answered else ())]
        return {piece["claim"] for piece in pieces if not isinstance(piece, str) and "claim" in piece}

    def draw(self, scene: Scene, picture: Image.Image, marks: Sequence[Mark], time_s: float) -> Image.Image:
        """The frame at `time_s` of the clip, which shows `picture`."""
        frame = self._page(scene.pieces, scene.claim, scene.answered).copy()
        clip = picture if picture.size == self.clip_size else picture.resize(self.clip_size)
        frame.paste(self._with_marks(clip, marks), (round(self._px(_MARGIN)), self._top))
        if self._media.duration_s:
            self._draw_lane(ImageDraw.Draw(frame), scene, time_s)
        return frame

    def _drawn_page(self, pieces: int, claim: int | None, answered: bool) -> Image.Image:
        """Everything but the clip and the time line."""
        page = Image.new("RGB", self.size, PAPER)
        for token in self._question.tokens:
            self._draw_token(ImageDraw.Draw(page), token, self._px(_MARGIN), self._px(_MARGIN), None)
        visible = len(self._pieces) + 1 if answered else pieces
        tokens = [token for token in self._text.tokens if token.order <= visible]
        end = max((token.y + token.size * 1.65 for token in tokens), default=0.0)
        up = max(0.0, end - self._body)  # the last lines stay in view
        column = Image.new("RGB", (self.size[0] - self._left, self._body), PAPER)
        for token in tokens:
            self._draw_token(ImageDraw.Draw(column), token, 0, -up, claim)
        page.paste(column, (self._left, self._top))
        return page

    def _draw_token(
        self, draw: ImageDraw.ImageDraw, token: Token, left: float, top: float, lit: int | None
    ) -> None:
        font, x, y = self._fonts[token.size], left + token.x, top + token.y
        middle = y + token.size * 0.82
        if token.claim is None:
            soft = token.size <= self._px(_HEADING)
            draw.text((x, middle), token.text, fill=SOFT if soft else INK, font=font, anchor="lm")
            return
        colour = self._colours[object_of(self._claims[token.claim])]
        fill = LIT if token.claim == lit else _tint(colour)
        box = (x, middle - token.size * 0.72, x + token.width, middle + token.size * 0.72)
        draw.rounded_rectangle(box, self._px(6), fill, colour, max(1, round(self._px(1.6))))
        x += token.size * 0.45
        draw.text((x, middle), token.text, fill=INK, font=font, anchor="lm")
        if token.detail:
            x += font.getlength(f"{token.text} ")
            small = self._fonts[token.size * 0.8]
            doubtful = is_doubtful(self._claims[token.claim], self._media.duration_s)
            draw.text(
                (x, middle), token.detail, fill=COLOURS[6] if doubtful else SOFT, font=small, anchor="lm"
            )

    def _with_marks(self, clip: Image.Image, marks: Sequence[Mark]) -> Image.Image:
        drawn = clip.convert("RGB")
        drawn = drawn.copy() if drawn is clip else drawn
        draw = ImageDraw.Draw(drawn)
        for mark in marks:
            self._draw_mark(draw, mark)
        return drawn

    def _draw_mark(self, draw: ImageDraw.ImageDraw, mark: Mark) -> None:
        width, height = self.clip_size
        x1, x2 = (min(max(x, 0.0), 1.0) * (width - 1) for x in (mark.box[0], mark.box[2]))
        y1, y2 = (min(max(y, 0.0), 1.0) * (height - 1) for y in (mark.box[1], mark.box[3]))
        if x2 <= x1 or y2 <= y1:
            return
        claim = self._claims[mark.claim]
        colour = self._colours[object_of(claim)]
        stroke = max(2, round(self._px(3)))
        if mark.style == "claimed":
            draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=PAPER, width=stroke + 2)
            draw.rectangle((x1, y1, x2, y2), outline=colour, width=stroke)
        else:
            dash = self._px(9 if mark.style == "between" else 3)
            _dashed(draw, (x1, y1, x2, y2), dash, PAPER, stroke + 2)
            _dashed(draw, (x1, y1, x2, y2), dash, colour, stroke)
        self._draw_label(draw, claim["object"], colour, (x1, y1, x2, y2))

    def _draw_label(
        self, draw: ImageDraw.ImageDraw, name: str, colour: str, box: tuple[float, float, float, float]
    ) -> None:
        font, pad, high = self._fonts[self._px(_LABEL)], self._px(4), self._px(_LABEL + 5)
        name = " ".join(name.split())
        name = name if len(name) <= 30 else name[:29] + "…"
        long = font.getlength(name) + 2 * pad
        left = min(max(0.0, box[0]), max(0.0, self.clip_size[0] - long))
        top = box[1] - high if box[1] >= high else box[3] if box[3] + high < self.clip_size[1] else box[1]
        draw.rectangle((left, top, left + long, top + high), fill=colour)
        draw.text((left + pad, top + high / 2), name, fill=PAPER, font=font, anchor="lm")

    def _draw_lane(self, draw: ImageDraw.ImageDraw, scene: Scene, time_s: float) -> None:
        """The clip's length with the answer's span, the visible claims and the present moment."""
        px, end_s = self._px, self._media.duration_s or 1.0
        font = self._fonts[px(_LABEL)]
        clock = f"{time_s:.1f} / {end_s:.1f} s"
        left, right = (
            px(_MARGIN),
            px(_WIDTH - _MARGIN) - font.getlength(f"{end_s:.1f} / {end_s:.1f} s") - px(14),
        )
        middle = self._top + self._body + px(_LANE) * 0.68
        high = px(5)

        def at(time_s: float) -> float:
            return left + min(max(time_s / end_s, 0.0), 1.0) * (right - left)

        draw.rounded_rectangle((left, middle - high, right, middle + high), high, FAINT)
        if scene.answered:
            for start, stop in self._data["spans"]:
                draw.rectangle((at(start), middle - high, at(stop), middle + high), fill=SPAN)
        for index in sorted(self.claims_of(scene)):
            claim = self._claims[index]
            if claim["time_s"] is not None and not is_doubtful(claim, end_s):
                x, r = at(claim["time_s"]), px(6)
                colour = self._colours[object_of(claim)]
                draw.ellipse((x - r, middle - r, x + r, middle + r), colour, PAPER, max(1, round(px(1.5))))
        x = at(time_s)
        draw.line((x, middle - px(11), x, middle + px(11)), fill=INK, width=max(2, round(px(2.5))))
        draw.text((px(_WIDTH - _MARGIN), middle), clock, fill=SOFT, font=font, anchor="rm")


def _dashed(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], dash: float, colour: str, width: int
) -> None:
    x1, y1, x2, y2 = box
    for start, stop, fixed, across in (
        (x1, x2, y1, True),
        (x1, x2, y2, True),
        (y1, y2, x1, False),
        (y1, y2, x2, False),
    ):
        here = start
        while here < stop:
            end = min(here + dash, stop)
            draw.line(
                (here, fixed, end, fixed) if across else (fixed, here, fixed, end), fill=colour, width=width
            )
            here += 1.8 * dash


def drawn_colours() -> list[tuple[int, int, int]]:
    """What everything around the clip is drawn in."""
    plain = (PAPER, INK, SOFT, FAINT, LIT, SPAN, *COLOURS)
    return [*(_rgb(colour) for colour in plain), *map(_tint, COLOURS)]


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return red, green, blue


def _tint(colour: str) -> tuple[int, int, int]:
    """The colour of a chip: mostly paper."""
    red, green, blue = (round(255 - 0.14 * (255 - level)) for level in _rgb(colour))
    return red, green, blue
