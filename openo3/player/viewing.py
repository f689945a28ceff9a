"""Putting a page before a person: in a notebook or in the browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Any

from markupsafe import Markup

_HEIGHT = 720  # pixels of the frame in a notebook


def in_notebook() -> bool:
    """True inside a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def show_in_notebook(shown: Any) -> None:
    """Display an object below the cell."""
    from IPython.display import display

    display(shown)


def embedded_page(text: str) -> str:
    """A page inside another one, apart from its styles and scripts.

    >>> embedded_page('<p class="a">')[:45]
    '<iframe srcdoc="&lt;p class=&#34;a&#34;&gt;" '
    """
    frame = '<iframe srcdoc="{}" sandbox="allow-scripts" width="100%" height="{}" style="border: 0"></iframe>'
    return str(Markup(frame).format(text, _HEIGHT))


def open_in_browser(page: Path | str) -> None:
    """Open a file or an address if there is a screen; a browser inside the terminal would take it over."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(page if isinstance(page, str) else page.resolve().as_uri())
