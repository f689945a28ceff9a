"""How a command ends on bad input."""

from __future__ import annotations

import sys


class InputError(ValueError):
    """A file cannot be used; the message is one line that names the file, the row and the field."""


def refuse(error: Exception, status: int = 2) -> int:
    """Print the error as one line on standard error; the result is the exit status."""
    print(f"openo3: {plain(str(error))}", file=sys.stderr)
    return status


def plain(text: str) -> str:
    """The text on one line of a terminal: what would end the line, turn it round or move the cursor, and half
    characters, stand there as escapes.

    >>> plain("a\\u202eb\\n")
    'a\\\\u202eb\\\\n'
    """
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)
