"""Read one block of a YAML parameter file as one frozen dataclass, strictly.

    sft:
      data: {loss_on: answer}
      trainer: {learning_rate: 1e-3}

Types are strict (no `"3"` for an int, though an int is a float); nested dataclasses, `Literal`, `X | None`,
tuples, lists and dictionaries are supported, and a field with a default may be left out. `Positive`,
`NonNegative` and `Seed` are whole numbers with bounds; a `Share` is at least 0 and below 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

T = TypeVar("T")
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]


MAX_VALUES = 200_000
"""Of a parameter file, with what its anchors stand for."""

_LONGEST = 300  # characters of what an error quotes
_MOST = 8  # problems that one error names
_NOT_YAML = (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError, YAMLError)
"""What reading YAML raises: the values of tags and dates are made by Python, each with errors of its own."""


class ConfigurationError(ValueError):
    """One line that names the file, the block and the key."""


def within(
    key: str,
    value: float | None,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
) -> None:
    """For a dataclass's `__post_init__`: raises `ValueError` for a number outside its range; None passes."""
    if value is None:
        return
    if above is not None and value <= above:
        raise ValueError(f"{key} must be greater than {above:g}, got {value:g}")
    if at_least is not None and value < at_least:
        raise ValueError(f"{key} must be at least {at_least:g}, got {value:g}")
    if at_most is not None and value > at_most:
        raise ValueError(f"{key} must be at most {at_most:g}, got {value:g}")


def read_blocks(path: str | Path) -> dict[str, Any]:
    """All blocks of a file, unchecked.

    Raises `ConfigurationError` if the file is missing or is not YAML, or holds more than `MAX_VALUES`.
    """
    try:
        with open(path, encoding="utf-8") as file:
            blocks = YAML(typ="safe").load(file)  # YAML 1.2, as DVC reads it: 1e-3 is a number
    except _NOT_YAML as error:
        raise ConfigurationError(f"{path}: {_line(error)}") from None
    if not _is_bounded(blocks):
        raise ConfigurationError(f"{path}: holds more than {MAX_VALUES:,} values, or an anchor inside itself")
    return blocks if isinstance(blocks, dict) else {}


def _is_bounded(value: Any) -> bool:
    """A few lines of anchors that name one another may stand for any number of values."""
    left, open_ = MAX_VALUES, [value]
    while open_ and left > 0:
        found = open_.pop()
        inside = [*found, *found.values()] if isinstance(found, dict) else found
        if isinstance(inside, list | tuple | set):
            left -= len(inside)
            open_ += inside
        left -= 1
    return left > 0


def read_block(path: str | Path, block: str, cls: type[T]) -> T:
    """Read `block` of the file `path` as the dataclass `cls`.

    Raises `ConfigurationError` when a key is unknown, missing or of the wrong type.
    """
    blocks = read_blocks(path)
    if block not in blocks:
        raise ConfigurationError(f"{path}: {block}: missing block")
    return parse_block(path, block, blocks[block], cls)


def parse_block(path: str | Path, block: str, value: Any, cls: type[T]) -> T:
    """`value`, found in the file `path` under the name `block`, as the dataclass `cls`; see `read_block`."""
    return _parse(path, value, cls, block)


def parse_file(path: str | Path, cls: type[T]) -> T:
    """A whole YAML file as the dataclass `cls`; see `read_block`."""
    return _parse(path, read_blocks(path), cls)


def _parse(path: str | Path, value: Any, cls: type[T], *block: str) -> T:
    # One model around the value, so that its strictness reaches every nested dataclass; JSON, because in
    # strict mode only JSON may stand for dataclasses and tuples.
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model = create_model("Parsed", __config__=strict, value=(cls, ...))
    try:
        text = json.dumps({"value": value}, default=str)
    except (RecursionError, TypeError, ValueError) as error:  # deeply nested, odd keys, endless numbers
        raise ConfigurationError(f"{path}: {': '.join((*block, _line(error)))}") from None
    try:
        parsed: Any = model.model_validate_json(text)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        reasons = "; ".join(_reason(problem, block) for problem in problems[:_MOST])
        more = f"; and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
        raise ConfigurationError(f"{path}: {reasons}{more}") from None
    return parsed.value


def _line(error: Exception) -> str:
    return _short(" ".join(str(error).split()))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _reason(problem: ErrorDetails, block: tuple[str, ...]) -> str:
    key = ".".join(map(str, (*block, *problem["loc"][1:])))
    match problem["type"]:
        case "missing":
            said = "missing key"
        case "unexpected_keyword_argument":
            said = "unknown key"
        case "value_error":  # raised by a dataclass's own check, with its own message
            said = str(problem.get("ctx", {}).get("error"))
        case _:
            said = f"{problem['msg'].lower()}, got {_short(repr(problem['input']))}"
    return f"{key}: {said}" if key else said
