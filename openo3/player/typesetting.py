"""Text of an answer set in lines, with claims as chips, for pictures that are drawn with Pillow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "Arial Unicode.ttf")
_NO_CHARACTER = "\uffff"


class Fonts:
    """One typeface in any size: Pillow's own, or a system's font that has more of the letters of `text`."""

    def __init__(self, text: str) -> None:
        letters = set(re.sub(r"\s", "", text))
        self._name = min(("", *filter(_is_here, _SYSTEM_FONTS)), key=lambda name: _lacking(name, letters))

    def __getitem__(self, size: float) -> Font:
        return _font(self._name, max(8, round(size)))


@cache
def _font(name: str, size: int) -> Font:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


def _is_here(name: str) -> bool:
    try:
        return bool(_font(name, 16))
    except OSError:
        return False


def _lacking(name: str, letters: Iterable[str]) -> int:
    """How many letters a font draws as it draws what is no character."""
    missing = _drawn(name, _NO_CHARACTER)
    return sum(_drawn(name, letter) == missing for letter in letters)


def _drawn(name: str, letter: str) -> bytes:
    picture = Image.new("L", (32, 32))
    ImageDraw.Draw(picture).text((4, 4), letter, fill=255, font=_font(name, 16))
    return picture.tobytes()


@dataclass(frozen=True)
class Token:
    """A word or a chip at `(x, y)` from the top left of the text. `order` says when it appears.

    `detail` is the small text of a chip, its time.
    """

    text: str
    x: float
    y: float
    width: float
    order: int
    size: float
    claim: int | None = None
    detail: str = ""


class Text:
    """Sets one paragraph below the other in lines of at most `width` pixels."""

    def __init__(self, fonts: Fonts, width: float) -> None:
        self.fonts, self.width = fonts, width
        self.tokens: list[Token] = []
        self.height = 0.0

    def add(
        self,
        pieces: Sequence[Any],
        claims: Sequence[Mapping[str, Any]],
        size: float,
        order: int,
        step: int = 1,
    ) -> None:
        """A paragraph of the player's `shown` pieces.

        The first appears at `order`, each other one `step` later.
        """
        x, line = 0.0, size * 1.65
        y = self.height
        space = self.fonts[size].getlength(" ")
        for number, piece in enumerate(pieces):
            when = order + step * number
            for text, spaced, claim, detail in _words(piece, claims):
                if text == "\n":
                    x, y = 0.0, y + line
                    continue
                x += space if spaced and x else 0.0
                fitting = self._broken(text, size) if claim is None else [self._shortened(text, size, detail)]
                for part in fitting:
                    width = self._length(part, size, claim, detail)
                    if x and x + width > self.width:
                        x, y = 0.0, y + line
                    self.tokens.append(Token(part, x, y, width, when, size, claim, detail))
                    x += width
        self.height = y + line

    @property
    def lines(self) -> int:
        """How many lines the text has."""
        return len({token.y for token in self.tokens})

    def gap(self, height: float) -> None:
        self.height += height

    def _length(self, text: str, size: float, claim: int | None, detail: str) -> float:
        length = self.fonts[size].getlength(text)
        if claim is None:
            return length
        return length + size * 0.9 + (self.fonts[size * 0.8].getlength(f" {detail}") if detail else 0.0)

    def _shortened(self, name: str, size: float, detail: str) -> str:
        """A chip's name, with an ellipsis where it is longer than a line."""
        while len(name) > 1 and self._length(name, size, 0, detail) > self.width:
            name = name[:-2].rstrip() + "…"
        return name

    def _broken(self, text: str, size: float) -> list[str]:
        """A word in parts that fit into a line each."""
        parts, most = [], self.width * 0.8
        while self.fonts[size].getlength(text) > most:
            count = next(
                n for n in range(len(text), 0, -1) if n == 1 or self.fonts[size].getlength(text[:n]) <= most
            )
            parts.append(text[:count])
            text = text[count:]
        return [*parts, text]


def _words(piece: Any, claims: Sequence[Mapping[str, Any]]) -> list[tuple[str, bool, int | None, str]]:
    """`(text, whether a space precedes it, claim, detail)` of each word of a piece."""
    if not isinstance(piece, str):
        if "claim" not in piece:
            return [(f"{piece['time_s']:g} s", False, None, "")]
        claim = claims[piece["claim"]]
        time_s = claim["time_s"]
        name = " ".join(claim["object"].split()) or "?"
        return [(name, False, piece["claim"], "" if time_s is None else f"{time_s:g} s")]
    found = []
    for spaces, word in re.findall(r"(\s*)(\S*)", piece):
        found += [("\n", False, None, "")] if "\n" in spaces else []
        if word:
            found.append((word, bool(spaces) and "\n" not in spaces, None, ""))
        elif spaces:
            found.append(("", True, None, ""))
    return found
