"""When two answers in words say the same."""

# ruff: noqa: RUF001 (the minus sign and the like are signs to compare)

from __future__ import annotations

import re
import unicodedata

_FILLERS = re.compile(r"\b(a|an|the|it|is|its|there|of)\b|[^\w\s]")
_SIGNS = re.compile(
    r"(?<![\w.])[-+−](?=\s?[\d.])|[<>=≤≥≠±×÷*/^+%$€£¥°#]|(?<=\w)\s?[-−]\s?(?=\d)|(?<=\d)[.,:](?=\d)"
)


def same_words(first: str, second: str) -> bool:
    """Whether two texts have the same words and signs; case, fillers and punctuation aside.

    >>> same_words("The red cup.", "it is a red cup"), same_words("-5", "5"), same_words("the", "a")
    (True, False, False)
    """
    first, second = folded(first), folded(second)
    same = words(first) == words(second) != "" and signs(first) == signs(second)
    return first == second or same


def folded(text: str) -> str:
    """A text without differences of case, width and composition."""
    return unicodedata.normalize("NFKC", text).strip().lower()


def signs(text: str) -> list[str]:
    """The signs of a text that change what it says: of numbers, of relations, of units."""
    return [sign.strip().replace("−", "-") for sign in _SIGNS.findall(text)]


def words(text: str) -> str:
    """The words of a lower-case text that carry meaning."""
    return " ".join(_FILLERS.sub(" ", text).split())
