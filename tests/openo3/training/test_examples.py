"""Samples that are too long are counted and left out, before a frame of theirs is decoded."""

import pytest

from openo3.training.examples import Examples


def test_lengths_are_those_of_the_tokens(examples: Examples) -> None:
    for sample in examples.samples:
        encoded = examples.encode(sample)
        prompt = len(encoded.prefix_ids) + len(encoded.context_ids)
        answer = len(examples.encoder.target(examples.target(sample)))
        assert examples.tokens(sample, answered=False) == prompt
        assert examples.tokens(sample, answered=True) == prompt + answer


@pytest.mark.parametrize("answered", [True, False])
def test_only_those_that_fit_stay(examples: Examples, answered: bool) -> None:
    lengths = [examples.tokens(sample, answered=answered) for sample in examples.samples]
    limit = sorted(lengths)[len(lengths) // 2]
    within = examples.within(limit, answered=answered)
    fitting = [sample for sample, length in zip(examples.samples, lengths, strict=True) if length <= limit]
    assert list(within.samples) == fitting
    assert within.too_long == len(lengths) - len(fitting) > 0
    assert within.without_frames == examples.without_frames
    assert examples.within(None, answered=answered) is examples
