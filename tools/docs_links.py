"""Hook of mkdocs: links from docs/ to files of the repository.

They are relative (`../openo3/core/rewards.py`), as code hosts need them. The website has no such files, so
they become links to `repo_url`, or plain text without one.
"""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^]]*)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """The page with its links that lead out of docs/ replaced."""
    address = (config.get("repo_url") or "").rstrip("/")
    return OUTSIDE.sub(rf"[\1]({address}/blob/main/\2)" if address else r"\1", markdown)
