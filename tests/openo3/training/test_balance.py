"""Packs are dealt to processes so that each has about as many tokens, and each pack once."""

from collections import Counter
from pathlib import Path

import pytest
from torch.utils.data import RandomSampler
from trl import SFTConfig

from openo3.model.load import load_model, load_processor
from openo3.training.balance import BalancedOrder, busiest
from openo3.training.examples import Examples
from openo3.training.sft import GroupCollator, sft_trainer
from tests.openo3.training import workplace

# As of packs of one to eight records about the same frames
TOKENS = [200 + 90 * (number * number % 97 % 8) + number % 13 for number in range(500)]


def order(batch: int, accumulation: int = 1, epoch: int = 0, processes: int = 4) -> list[int]:
    return [*BalancedOrder(TOKENS, processes, batch, accumulation, 0, lambda: epoch)]


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 1), (1, 4), (8, 1), (3, 2)])
def test_processes_have_about_as_many_tokens(batch: int, accumulation: int) -> None:
    rows = order(batch, accumulation)
    assert sorted(rows) == list(range(500))
    by_chance = busiest(list(range(500)), TOKENS, 4, batch)
    assert busiest(rows, TOKENS, 4, batch) < 1 + (by_chance - 1) / 3


@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (2, 4)])
def test_a_step_of_several_packs_each_keeps_its_packs(batch: int, accumulation: int) -> None:
    """Who computes a pack changes, not with which others it is learned: equal lengths are never exchanged."""
    alike = BalancedOrder([7] * 500, 4, batch, accumulation, 0, lambda: 0)
    size = 4 * batch * accumulation

    def steps(rows: list[int]) -> list[set[int]]:
        return [set(rows[start : start + size]) for start in range(0, 500, size)]

    assert steps(order(batch, accumulation)) == steps([*alike])


def test_epochs_differ_and_repeat() -> None:
    assert order(1) == order(1) != order(1, epoch=1)
    assert Counter(order(1)) == Counter(order(1, epoch=1))


def test_long_packs_are_spread_over_the_epoch() -> None:
    """Sorting is within a few steps, so that a part of the epoch has all lengths."""
    rows = order(1)
    quarters = [sum(TOKENS[row] for row in rows[start : start + 125]) for start in range(0, 500, 125)]
    assert max(quarters) < 1.1 * min(quarters)


def test_packs_that_do_not_fill_a_step_come_last() -> None:
    few = BalancedOrder([5, 9, 7, 3, 4], 4, 1, 1, 0, lambda: 0)
    assert sorted(few) == [0, 1, 2, 3, 4]
    assert len(few) == 5


def test_the_busiest_process_by_hand() -> None:
    assert busiest([0, 1, 2, 3], [10, 30, 20, 20], 2, 1) == pytest.approx((1.5 + 1.0) / 2)
    assert busiest([0, 1, 2, 3], [10, 30, 20, 20], 2, 2) == pytest.approx(1.0)
    assert busiest([0], [10], 2, 1) == 1.0


def test_the_length_of_a_pack_needs_no_frame(examples: Examples) -> None:
    collator = GroupCollator(examples)
    for group in examples.groups(8):
        segments = collator([{"group": group}])["segments"]
        assert collator.tokens(group) == int((segments >= 0).sum())


def test_one_process_keeps_the_trainers_own_order(place: Path, examples: Examples, tmp_path: Path) -> None:
    base = place / "data/models/base"

    def sampler(**changed: object) -> object:
        config = SFTConfig(output_dir=str(tmp_path), **workplace.SFT | changed)
        made = sft_trainer(load_model(base), load_processor(base), examples, config)
        return made._get_train_sampler()

    assert isinstance(sampler(), RandomSampler)
