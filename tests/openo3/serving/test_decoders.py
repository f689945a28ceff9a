"""An engine without continuous batching answers whole batches of requests that are sampled alike."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from openo3.inference.model import Model
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.serving.decoders import STEPS_BETWEEN_JOINS, Batches, Continuous, Writing
from openo3.serving.replies import settled_length


def writing(model: Model, question: str, sampling: Sampling, **options) -> Writing:
    prompt = Prompt((), None, question)
    return Writing(prompt, model.engine.encoder.encode(prompt), sampling, **options)


def test_whole_batches_hold_requests_that_are_sampled_alike(model: Model) -> None:
    greedy = [writing(model, question, Sampling(6)) for question in ("What?", "When?", "Where?")]
    decoder = Batches(model.engine, concurrent=2)
    assert decoder.room_for(greedy[:2])
    assert not decoder.room_for(greedy)
    assert not decoder.room_for([greedy[0], writing(model, "Who?", Sampling(7))])
    decoder.join(greedy[:2])
    assert not decoder.room_for(greedy[2:])
    decoder.step()
    assert all(one.done and one.texts[0] and one.tokens[0] <= 6 for one in greedy[:2])
    assert not decoder.writing


def test_requests_share_a_batch_unless_they_bring_a_seed(model: Model) -> None:
    sampling = Sampling(4, 0.8)
    free = [writing(model, "What?", replace(sampling, seed=seed), seeded=False) for seed in (1, 2)]
    own = [writing(model, "What?", replace(sampling, seed=seed)) for seed in (1, 2)]
    decoder = Batches(model.engine, concurrent=4)
    assert decoder.room_for(free)
    assert not decoder.room_for(own)


def test_both_decoders_write_the_same_greedily(model: Model) -> None:
    whole, stepwise = (writing(model, "What is a circle?", Sampling(12), watched=True) for _ in range(2))
    batches = Batches(model.engine, concurrent=1)
    batches.join([whole])
    batches.step()
    continuous = Continuous(model.engine, concurrent=1)
    continuous.join([stepwise])
    grown = []
    while continuous.writing:
        continuous.step()
        grown.append(stepwise.texts[0])
    assert stepwise.texts == whole.texts
    assert stepwise.tokens == whole.tokens
    assert all(later.startswith(earlier) for earlier, later in pairwise(grown))


def test_prompts_that_come_meanwhile_are_read_together(model: Model) -> None:
    first, second = (writing(model, question, Sampling(40)) for question in ("What?", "When?"))
    decoder = Continuous(model.engine, concurrent=4)
    decoder.join([first])
    assert not decoder.room_for([second])
    for _ in range(STEPS_BETWEEN_JOINS):
        decoder.step()
    assert decoder.room_for([second])


def test_text_that_may_become_a_stop_text_is_held_back() -> None:
    assert settled_length("an E", ("END",)) == 3
    assert settled_length("an END", ()) == 6
    assert settled_length("an \ufffd", ()) == 3
