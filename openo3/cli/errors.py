"""How a command ends on bad input."""

from __future__ import annotations

import sys


class InputError(ValueError):
    """A file cannot be used; the message is one line that names the file, the row and the field."""


def refuse(error: Exception, status: int = 2) -> int:
    """Print the error as one line on standard error; the result is the exit status."""
    said = str(error).encode(errors="backslashreplace").decode()  # a name may hold half a character
    print(f"openo3: {said}", file=sys.stderr)
    return status
