"""Read the templates of prompts, see `openo3.core.prompts`.

`prompts:` in a parameter file names the file of templates. Without it, the default's are used.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from openo3.configuration import ConfigurationError, parse_file, read_blocks
from openo3.core.prompts import Prompts

KEY = "prompts"
DEFAULT = Path(__file__).parent / "prompts/default.yaml"
"""The templates that are installed with openo3."""


def read_prompts(path: str | Path) -> Prompts:
    """The templates of a file.

    Raises `ConfigurationError`, one line that names the file and the key, for a key that is unknown or
    missing, and for a template with an unknown or missing placeholder.
    """
    return parse_file(path, Prompts)


@cache
def default_prompts() -> Prompts:
    """The templates of `DEFAULT`."""
    return read_prompts(DEFAULT)


def prompts_path(params: str | Path) -> Path:
    """The file that a parameter file names under `prompts`, relative to its folder; `DEFAULT` without one.

    Raises `ConfigurationError` if `prompts` is no path.
    """
    named = read_blocks(params).get(KEY)
    if named is None:
        return DEFAULT
    if not isinstance(named, str) or not named:
        raise ConfigurationError(f"{params}: {KEY}: expected the path of a file, got {named!r}")
    return Path(params).parent / named
