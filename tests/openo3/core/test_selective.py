"""Accuracy against coverage, by hand and by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.core.selective import area, area_difference, curve

scored = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.75, 1.0]), st.booleans()), min_size=1, max_size=30)


@given(scored)
def test_the_order_of_questions_does_not_matter_and_the_last_point_is_the_accuracy_of_all(pairs):
    confidence, correct = zip(*pairs, strict=True)
    points = curve(confidence, correct)
    np.testing.assert_allclose(points, curve(confidence[::-1], correct[::-1]))
    assert points[-1] == pytest.approx((1.0, np.mean(correct)))
    assert [x for x, _ in points] == sorted({x for x, _ in points})


@given(scored)
def test_the_area_is_the_mean_accuracy_over_all_coverages(pairs):
    """Against the mean over finely split questions, which have their level's accuracy."""
    confidence, correct = zip(*pairs, strict=True)
    fine = 2000
    order = np.argsort(confidence, kind="stable")[::-1]
    share = np.repeat(
        [np.mean([c for k, c in pairs if k == confidence[i]]) for i in order], fine
    ).cumsum() / np.arange(1, fine * len(pairs) + 1)
    assert area(confidence, correct).value == pytest.approx(share.mean(), abs=2e-3)


def test_confidence_that_says_nothing_has_the_accuracy_of_all():
    found = area([0.5] * 4, [1, 0, 0, 1])
    assert found.value == pytest.approx(0.5)
    assert found.low < 0.5 < found.high


def test_a_confidence_that_orders_questions_better_has_the_larger_area():
    correct = [1, 1, 1, 0, 0, 0] * 10
    right, wrong = [0.9, 0.9, 0.9, 0.1, 0.1, 0.1] * 10, [0.1, 0.1, 0.1, 0.9, 0.9, 0.9] * 10
    gain = area_difference((right, correct), (wrong, correct))
    assert 0 < gain.low <= gain.value <= gain.high
    assert area_difference((right, correct), (right, correct)).value == 0
