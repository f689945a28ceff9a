"""What the readers of choices, times and boxes do to every text before they read it."""

# ruff: noqa: RUF001 (full-width and other look-alike characters are what models write)

from __future__ import annotations

import re

_HEAD_CHARS = 10_000  # an answer is found at the start or at the end of a long text
MARKUP = re.compile(r"\*\*|__|`+|\$|\\[()\[\]]|^[ \t]{0,4}#{1,6}[ \t]|^[ \t]{0,4}>[ \t]", re.MULTILINE)
"""Markdown and LaTeX around an answer."""
SAME = str.maketrans("“”„«»‘’", '"""""\'\'')
"""Quotation marks to plain ones."""


def shortened(text: str) -> str:
    """The start and the end of a very long text."""
    return text if len(text) <= 2 * _HEAD_CHARS else f"{text[:_HEAD_CHARS]}\n…\n{text[-_HEAD_CHARS:]}"
