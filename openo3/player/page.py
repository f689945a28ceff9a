"""One self-contained page around the player: it loads nothing, and its policy lets it load nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

TEMPLATE = "page.html.j2"


class Assets(NamedTuple):
    """The player's script, which defines `openo3Player`, and its style sheet."""

    script: str
    style: str


def assets() -> Assets:
    """Both are safe inside `<script>` and `<style>`."""
    return Assets(_text("player.js"), _text("player.css"))


def page(data: Mapping[str, Any]) -> str:
    """The HTML of a page that plays an answer.

    `data` is the JSON of an answer, with `media` as `openo3.player.clip.embedded` gives it. The texts in it
    are untrusted.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    script, style = assets()
    return environment.from_string(_text(TEMPLATE)).render(
        title=data.get("question") or "An answer with its evidence",
        script=Markup(script),
        style=Markup(style),
        data=Markup(script_json(data)),
    )


def script_json(value: Any) -> str:
    """JSON that may stand inside a `<script>`: no character in it can end one.

    >>> script_json({"said": "</script>"})
    '{"said": "\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(name: str) -> str:
    return (files("openo3.player") / name).read_text(encoding="utf-8")
