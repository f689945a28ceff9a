"""What the pages about the data share: one style, and the environment of their templates.

Annotations and file names are untrusted: every text goes through the templates' escaping.
"""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **shown: Any) -> str:
    """A self-contained page. `template` names a file beside this module that extends `layout.html.j2`."""
    loader = PackageLoader("openo3.validation", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": "{:,}".format, "percent": percent, "short": short}
    style = Markup(loader.get_source(environment, "page.css")[0])
    return environment.get_template(template).render(style=style, **shown)


def short(number: float) -> str:
    """At most four decimals, without trailing zeros.

    >>> short(0.30000004), short(17.0)
    ('0.3', '17')
    """
    return f"{round(number, 4) + 0.0:g}"


def percent(share: float) -> str:
    """A share in percent; `100 %` and `0 %` only when it is all or nothing.

    >>> percent(0.99999), percent(0.5)
    ('99.9 %', '50.0 %')
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"
