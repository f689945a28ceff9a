"""Metrics by hand; intervals against what is known of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.core.metrics import (
    arithmetic_mean,
    bootstrap,
    box_metrics,
    finite,
    log_geometric_mean,
    paired_difference,
    span_metrics,
)

shares = st.floats(0, 1)


def test_spans_by_hand():
    assert span_metrics([0.3, 0.7, 0.29, 0.0]) == {
        "R1@0.3": 0.5,
        "R1@0.5": 0.25,
        "R1@0.7": 0.25,
        "m_tIoU": pytest.approx(1.29 / 4),
    }


def test_boxes_by_hand():
    # record 1: two of three seconds reach 0.1; record 2: nothing annotated; record 3: perfect
    assert box_metrics([[0.1, 0.5, 0.0], [], [1.0]]) == {
        "AP@0.1": pytest.approx((2 / 3 + 0 + 1) / 3),
        "AP@0.3": pytest.approx((1 / 3 + 0 + 1) / 3),
        "AP@0.5": pytest.approx((1 / 3 + 0 + 1) / 3),
        "AP@0.7": pytest.approx(1 / 3),
        "AP@0.9": pytest.approx(1 / 3),
        "m_vIoU": pytest.approx((0.2 + 0 + 1) / 3),
    }


def test_joined_means_by_hand():
    assert float(arithmetic_mean(0.6, 0.3, 0.0)) == pytest.approx(0.3)
    expected = -(math.log(0.4) + math.log(0.7) + math.log(1.0)) / 3
    assert float(log_geometric_mean(0.6, 0.3, 0.0)) == pytest.approx(expected)
    assert str(float(log_geometric_mean(0, 0, 0))) == "0.0"
    assert float(log_geometric_mean(1, 0, 0)) == math.inf
    assert finite(math.inf) is None
    assert finite(0.5) == 0.5


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=30), st.integers(0, 5))
def test_intervals_hold_sensible_numbers(values, seed):
    for interval in bootstrap(values, seed=seed):
        assert -1e-9 <= interval.low <= interval.high <= 1 + 1e-9
    assert bootstrap(values, seed=seed) == bootstrap(values, seed=seed)


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(1).random(400)
    [interval] = bootstrap(values)
    margin = 1.96 * values.std() / math.sqrt(400)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - margin, abs=0.004)
    assert interval.high == pytest.approx(values.mean() + margin, abs=0.004)


def test_most_intervals_hold_the_true_mean():
    draw = np.random.default_rng(2)
    held = 0
    for seed in range(100):
        [interval] = bootstrap(draw.random(100) < 0.3, seed=seed)
        held += interval.low <= 0.3 <= interval.high
    assert 88 <= held <= 100


def test_a_metric_that_joins_scores_is_resampled_with_them():
    def spread(means):
        return means[..., :1] - means[..., 1:]

    values = np.random.default_rng(3).random(50)
    [interval] = bootstrap(np.stack([values, values], axis=1), spread)
    assert (interval.low, interval.high) == (0, 0)


def test_infinite_metrics_have_infinite_ends():
    def lgm(means):
        return log_geometric_mean(means[..., :1], 0, 0)

    [almost] = bootstrap([1.0] * 9 + [0.0], lgm)
    assert math.isfinite(almost.value)
    assert math.isfinite(almost.low)
    assert almost.high == math.inf  # a third of the resamples miss the one wrong answer
    [perfect] = bootstrap([1.0] * 3, lgm)
    assert perfect.value == perfect.low == math.inf
    [unknown] = paired_difference([1.0] * 3, [1.0] * 3, lgm)
    assert math.isnan(unknown.value)


def test_paired_differences_use_the_same_records():
    hard = np.random.default_rng(4).random(200)
    better = np.clip(hard + 0.01, 0, None)
    [difference] = paired_difference(better, hard)
    assert difference.low == pytest.approx(0.01)
    assert difference.high == pytest.approx(0.01)
    [alone] = bootstrap(hard)
    assert alone.high - alone.low > 0.05


def test_records_of_one_video_count_as_one_draw():
    """Equal scores within a video: the intervals are those of one record per video, four times as many."""
    once = np.random.default_rng(5).random(60)
    videos = [f"v{number}" for number in range(60)]
    [alone] = bootstrap(once)
    [together] = bootstrap(np.repeat(once, 4), videos=np.repeat(videos, 4).tolist())
    [independent] = bootstrap(np.repeat(once, 4))
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert together.high - together.low == pytest.approx(2 * (independent.high - independent.low), rel=0.1)
    [difference] = paired_difference(np.repeat(once, 4), np.zeros(240), videos=np.repeat(videos, 4).tolist())
    assert (difference.low, difference.high) == pytest.approx((alone.low, alone.high))


def test_a_video_of_each_record_is_no_cluster():
    values = np.random.default_rng(6).random((40, 2))
    assert bootstrap(values, videos=list(range(40))) == bootstrap(values)


def test_videos_of_different_sizes_weigh_by_their_records():
    [interval] = bootstrap([1.0, 0.0, 0.0, 0.0], videos=["a", "b", "b", "b"])
    assert (interval.value, interval.low, interval.high) == (0.25, 0.0, 1.0)


def test_impossible_resampling():
    with pytest.raises(ValueError, match="1 videos for 2 records"):
        bootstrap([1.0, 0.0], videos=["a"])
    with pytest.raises(ValueError, match="no scores"):
        bootstrap([])
    with pytest.raises(ValueError, match="different records"):
        paired_difference([1.0], [1.0, 0.0])
