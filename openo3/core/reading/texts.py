"""What the readers of choices, times and boxes do to every text before they read it."""

# ruff: noqa: RUF001 (full-width and other look-alike characters are what models write)

from __future__ import annotations

import re

_HEAD_CHARS = 10_000  # an answer is found at the start or at the end of a long text
_MARKS = r"\*\*|__|`+|\\[()\[\]]|^[ \t]{0,4}#{1,6}[ \t]|^[ \t]{0,4}>[ \t]"
MARKUP = re.compile(rf"\$|{_MARKS}", re.MULTILINE)
"""Markdown and LaTeX around an answer."""
MARKUP_BUT_DOLLARS = re.compile(_MARKS, re.MULTILINE)
"""The same where a dollar may be a currency."""
SAME = str.maketrans("“”„«»‘’", '"""""\'\'')
"""Quotation marks to plain ones."""


def shortened(text: str) -> str:
    """The start and the end of a very long text."""
    return text if len(text) <= 2 * _HEAD_CHARS else f"{text[:_HEAD_CHARS]}\n…\n{text[-_HEAD_CHARS:]}"
