"""Texts with placeholders, the project's one form of templates.

A placeholder is a name in braces, `{question}`; `{{question}}` is the text `{question}` itself, and other
braces are text. What is filled in is not searched for placeholders. A file of templates is a dataclass whose
fields say which placeholders they need:

    @dataclass(frozen=True)
    class Questions:
        where: str = template("question", "seconds")

        def __post_init__(self) -> None:
            check_templates(self)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, fields
from typing import Any

_PLACEHOLDER = re.compile(r"\{\{(?P<literal>[a-z_]+)\}\}|\{(?P<name>[a-z_]+)\}")


def template(*needs: str, may: Sequence[str] = ()) -> Any:
    """A field of a dataclass: a text with each placeholder of `needs` exactly once, and any of `may`."""
    return field(metadata={"needs": needs, "may": tuple(may)})


def check_templates(section: Any, prefix: str = "") -> None:
    """Check all templates of a dataclass.

    Raises `ValueError` for an unknown placeholder, or one that is missing or repeated; the message names the
    template as `prefix` and its field.
    """
    for each in fields(section):
        if "needs" in each.metadata:
            _check(
                prefix + each.name, getattr(section, each.name), each.metadata["needs"], each.metadata["may"]
            )


def filled(text: str, **values: str) -> str:
    """The template with its placeholders replaced. Raises `KeyError` for one without a value."""
    return "".join(filter(None, pieces(text, {name: [value] for name, value in values.items()})))


def pieces(text: str, values: Mapping[str, Sequence[str | None]]) -> Iterator[str | None]:
    """The template's texts, with each placeholder replaced by several; None is what is no text, an image."""
    end = 0
    for found in _PLACEHOLDER.finditer(text):
        yield text[end : found.start()]
        yield from [f"{{{found['literal']}}}"] if found["literal"] else values[found["name"]]
        end = found.end()
    yield text[end:]


def _check(key: str, text: str, needs: Sequence[str], may: Sequence[str]) -> None:
    found = [match["name"] for match in _PLACEHOLDER.finditer(text) if match["name"]]
    for name in found:
        if name not in (*needs, *may):
            known = ", ".join(f"{{{known}}}" for known in (*needs, *may)) or "none"
            raise ValueError(
                f"{key}: unknown placeholder {{{name}}}; there are {known}, and {{{{{name}}}}} is plain text"
            )
    for name in needs:
        if found.count(name) != 1:
            raise ValueError(f"{key}: needs {{{name}}} exactly once, found {found.count(name)} times")
