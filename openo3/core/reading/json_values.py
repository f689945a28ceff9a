"""JSON values inside a text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_ATTEMPTS = 64
_START = re.compile(r"[{\[]")


class JsonObject(list):
    """A JSON object as its (key, value) pairs, repeated keys included."""


_DECODER = json.JSONDecoder(object_pairs_hook=JsonObject)


def json_values(text: str) -> Iterator[Any]:
    """Every JSON object or list of a text, of as many as a bounded number of attempts finds."""
    start = 0
    for _ in range(_ATTEMPTS):
        found = _START.search(text, start)
        if not found:
            return
        try:
            value, start = _DECODER.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            start = found.end()
        else:
            yield value
