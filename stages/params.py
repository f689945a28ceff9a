"""A stage's parameters: its block of `params.yaml` as the stage's own frozen dataclass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from openo3.configuration import ConfigurationError, read_block

T = TypeVar("T")


def load_params(block: str, cls: type[T], path: str = "params.yaml") -> T:
    """Read `block` of the parameter file as the dataclass `cls`, see `openo3.configuration`.

    Raises `SystemExit(2)` after one line on standard error that names the file, the block and the key.
    """
    try:
        return read_block(path, block, cls)
    except ConfigurationError as error:
        wrong(error)


@contextmanager
def settings_of(block: str) -> Iterator[None]:
    """Around a call that takes `block` as another library's settings: what it finds wrong is one line."""
    try:
        yield
    except (TypeError, ValueError) as error:
        wrong(f"params.yaml: {block}: {' '.join(str(error).split())}")


def wrong(what: object) -> NoReturn:
    """End the stage with one line and the status that says that no second try mends it."""
    print(what, file=sys.stderr)
    raise SystemExit(2)
