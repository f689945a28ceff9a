"""JSON files as hostile people and bad disks leave them: seeded mutants of a good one."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 2**70, -(2**63), 0.5, "", "x", "x" * 70_000, "\u202e<script>\x00", "nan",
    [], {}, [[]], [None], {"": None}, ["a", "b"], {"a": {"b": []}}, [1, 2, 3, 4], [[0, 0, 1, 1]],
)  # fmt: skip
WRITTEN = (
    "1e999", "-1e999", "NaN", "-Infinity", "1" + "0" * 400, "9" * 5000, '"\\ud800"', "[" * 2000 + "]" * 2000,
    '{"a": 1, "a": 2}', "-0", "1.7976931348623157e308", "5e-324",
)  # fmt: skip
"""Values as they stand in a file; JSON of Python cannot write all of them."""

_MARK = "\x00written:"


def mutants(value: Any, count: int, seed: int = 0) -> Iterator[str]:
    """`count` texts, in each of which one or two places of `value` are changed, removed or added to."""
    rng = random.Random(seed)
    for _ in range(count):
        yield _mutant(value, rng)


def _mutant(value: Any, rng: random.Random) -> str:
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2))):
        path = rng.choice(list(_paths(changed)))
        new = _MARK + str(rng.randrange(len(WRITTEN))) if rng.random() < 0.35 else rng.choice(VALUES)
        if not path:
            changed = new
            continue
        at = changed
        for name in path[:-1]:
            at = at[name]
        how = rng.random()
        if how < 0.2:
            del at[path[-1]]
        elif how < 0.3 and isinstance(at, dict):
            at["\ud800"] = new
        else:
            at[path[-1]] = copy.deepcopy(new)
    text = json.dumps(changed)
    for number, written in enumerate(WRITTEN):
        text = text.replace(json.dumps(f"{_MARK}{number}"), written)
    return text


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value[:6]):
            yield from _paths(inner, (*path, name))
