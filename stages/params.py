"""One block of `params.yaml` -> one frozen dataclass.

    sft:
      max_samples: 64
      trainer: {learning_rate: 1e-3}

is read by stage `sft` as `load_params("sft", Params)`. Types are strict (no `"3"` for an int, though an int
is a float), nested dataclasses, `Literal`, `X | None`, tuples, lists and dictionaries are understood, and a
field with a default may be left out.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn, TypeVar

from pydantic import ConfigDict, ValidationError, create_model
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

T = TypeVar("T")


def load_params(block: str, cls: type[T], path: str = "params.yaml") -> T:
    """Read `block` of the parameter file `path` as the dataclass `cls`.

    Raises `SystemExit(2)` after one line on standard error that names the file, the block and the key when
    a key is unknown, missing or of the wrong type.
    """
    try:
        with open(path, encoding="utf-8") as file:
            blocks = YAML(typ="safe").load(file) or {}  # YAML 1.2, as DVC reads it: 1e-3 is a number
    except (OSError, YAMLError) as error:
        _stop(f"{path}: {' '.join(str(error).split())}")
    if not isinstance(blocks, dict) or block not in blocks:
        _stop(f"{path}: {block}: missing block")
    # One model around the block, so that its strictness reaches every nested dataclass; JSON, because in
    # strict mode only JSON may stand for dataclasses and tuples.
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model = create_model("Blocks", __config__=strict, **{block: (cls, ...)})
    try:
        return getattr(model.model_validate_json(json.dumps({block: blocks[block]}, default=str)), block)
    except ValidationError as error:
        _stop(f"{path}: " + "; ".join(_reason(problem) for problem in error.errors(include_url=False)))


def _reason(problem: dict[str, Any]) -> str:
    key = ".".join(map(str, problem["loc"]))
    match problem["type"]:
        case "missing":
            return f"{key}: missing key"
        case "unexpected_keyword_argument":
            return f"{key}: unknown key"
        case _:
            return f"{key}: {problem['msg'].lower()}, got {problem['input']!r}"


def _stop(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)
