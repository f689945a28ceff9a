"""The ways to ask are found by their names, and each differs from greedy in one thing."""

from dataclasses import asdict
from typing import get_args

import pytest

from openo3.benchmarks.conditions import CONDITIONS, Name


def test_every_name_is_a_condition():
    assert set(CONDITIONS) == set(get_args(Name))
    assert all(condition.name == name for name, condition in CONDITIONS.items())
    assert len({condition.label for condition in CONDITIONS.values()}) == len(CONDITIONS)


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("greedy", {}),
        ("sampled", {"temperature": 1.0}),
        ("plain", {"bare": True}),
        ("blind", {"blank": True}),
        ("voted", {"vote": "majority"}),
        ("confident", {"vote": "relevance"}),
    ],
)
def test_a_condition_says_how_to_ask(name, differs):
    greedy = {"temperature": 0.0, "blank": False, "bare": False, "vote": None}
    found = asdict(CONDITIONS[name])
    assert {key: found[key] for key in greedy} == greedy | differs
