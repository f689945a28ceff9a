"""The parts of a step are timed once each, whatever calls what."""

import time

import pytest

from bench.gspo_step import table, timed


class Step:
    def run(self) -> None:
        self.outer()
        self.inner()

    def outer(self) -> None:
        time.sleep(0.02)
        self.inner()

    def inner(self) -> None:
        time.sleep(0.02)


def test_time_inside_another_part_counts_there_alone() -> None:
    parts = {"all": (Step, "run"), "outer": (Step, "outer"), "inner": (Step, "inner")}
    with timed(parts) as seconds:
        Step().run()
    assert seconds["all"] >= seconds["outer"] + seconds["inner"]  # the call inside `outer` counts once
    assert seconds["outer"] >= 0.04
    assert seconds["inner"] >= 0.02
    Step().run()
    assert seconds["inner"] < seconds["all"]  # nothing is timed any more


def test_shares_add_up() -> None:
    lines = table({"rollout": 2.0, "backward": 1.0, "all": 4.0}, steps=2).splitlines()
    assert lines[2:] == [
        "| rollout | 1.00 | 50% |",
        "| backward | 0.50 | 25% |",
        "| the rest | 0.50 | 25% |",
        "| all | 2.00 | 100% |",
    ]


@pytest.mark.parametrize("name", ["run", "outer", "inner"])
def test_the_original_is_back(name: str) -> None:
    before = getattr(Step, name)
    with timed({"all": (Step, name)}):
        assert getattr(Step, name) is not before
    assert getattr(Step, name) is before
