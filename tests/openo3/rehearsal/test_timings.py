"""Numbers worked out by hand from traces that were written by hand."""

from pathlib import Path

import pytest

from openo3.rehearsal import timings
from openo3.rehearsal.trace import Event, Trace, read_traces


def rollout_of(start: float, decoding: float, *, slowest: float) -> list[Event]:
    """Two updates from `start`: 1 s of data, 2 s of prompts, a rollout until 1 s after the slowest decoded,
    1 s of scoring, then 3 s and 4 s for the updates."""
    begun = start + 3
    scored = begun + slowest + 1
    first = scored + 1 + 3
    written = {"completions": 8, "completion_tokens": 80, "prompt_tokens": 800}
    return [
        Event("data", start, start + 1),
        Event("prompts", start + 1, begun),
        Event("decoding", begun, begun + decoding),
        Event("rollout", begun, scored, written),
        Event("scoring", scored, scored + 1),
        Event("step", start + 1, first - 1, {"tokens": 500, "patches": 40}),
        Event("update", first, first, {"step": 1}),
        Event("data", first, first),
        Event("step", first, first + 3, {"tokens": 300, "patches": 40}),
        Event("update", first + 4, first + 4, {"step": 2}),
    ]


def length(slowest: float) -> float:
    return 3 + slowest + 1 + 1 + 3 + 4


def gspo(decoding: float, slowest: float, rank: int, world: int) -> Trace:
    warm_up = rollout_of(10.0, 100.0, slowest=100.0)
    measured = rollout_of(10.0 + length(100.0), decoding, slowest=slowest)
    return Trace(rank, world, "stopped", [*warm_up, *measured])


def test_a_rollout_is_split_into_its_parts_and_the_first_one_is_left_out() -> None:
    found = timings.training([gspo(6.0, 6.0, 0, 1)], cycle=2)
    assert found.steps == 2
    assert found.step_s == pytest.approx(length(6.0) / 2)
    assert {name: 2 * seconds for name, seconds in found.parts.items()} == pytest.approx(
        {
            timings.DATA: 1.0,
            timings.DECODING: 6.0,
            timings.GATHERING: 3.0,  # 2 s to encode prompts, 1 s beside decoding
            timings.SCORING: 1.0,
            timings.UPDATE: 7.0,
        }
    )
    assert found.completions_per_s == pytest.approx(8 / 18)
    assert found.tokens_per_s == pytest.approx(880 / 18)
    assert found.completion_tokens == 10.0
    assert (found.passed_tokens, found.passed_patches) == (400.0, 40.0)


def test_processes_wait_for_the_one_that_decodes_longest() -> None:
    traces = [gspo(6.0, 10.0, 0, 2), gspo(10.0, 10.0, 1, 2)]
    found = timings.training(traces, cycle=2)
    whole = {name: 2 * seconds for name, seconds in found.parts.items()}
    assert whole[timings.DECODING] == pytest.approx(8.0)
    assert whole[timings.WAITING] == pytest.approx(2.0)
    assert whole[timings.GATHERING] == pytest.approx(3.0)
    assert sum(whole.values()) == pytest.approx(2 * found.step_s)


def sft_step(start: float, tokens: int, number: int, save: float = 0.0) -> list[Event]:
    events = [
        Event("data", start, start + 0.5),
        Event("step", start + 0.5, start + 2.5, {"tokens": tokens, "patches": 64}),
        Event("update", start + 3.0, start + 3.0, {"step": number}),
    ]
    return [*events, Event("saving", start + 3.0, start + 3.0 + save, {"step": number})] if save else events


def test_sft_counts_logged_tokens_and_a_checkpoint_is_no_part_of_a_step() -> None:
    events = [*sft_step(0.0, 90, 1), *sft_step(3.0, 100, 2, save=7.0), *sft_step(13.0, 110, 3)]
    log = [{"num_tokens": count} for count in (80, 170, 270)]
    trace = Trace(0, 1, "finished", events, log)
    found = timings.training([trace], cycle=1)
    assert found.step_s == pytest.approx(3.0)
    assert found.tokens_per_s == pytest.approx((270 - 80) / 2 / 3.0)
    assert found.parts == pytest.approx({timings.DATA: 0.5, timings.UPDATE: 2.5})
    assert found.completions_per_s is None
    assert timings.seconds_of([trace], "saving") == pytest.approx(7.0)
    assert timings.steps_taken([trace]) == [1, 2, 3]


def test_in_sft_the_process_with_the_most_tokens_keeps_the_others_waiting() -> None:
    traces = [
        Trace(rank, 2, "finished", [*sft_step(0.0, 100, 1), *sft_step(3.0, tokens, 2)])
        for rank, tokens in enumerate((50, 100))
    ]
    found = timings.training(traces, cycle=1)
    assert found.parts[timings.WAITING] == pytest.approx(2.0 * (1 - 75 / 100))


def test_flops_are_six_for_each_weight_and_token() -> None:
    found = timings.training([Trace(0, 1, "", [*sft_step(0.0, 1, 1), *sft_step(3.0, 1000, 2)])], cycle=1)
    assert timings.update_flops(found, text_weights=10, vision_weights=3) == 6 * (1000 * 10 + 64 * 3)


def test_a_trace_without_a_whole_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole rollout of 8 steps"):
        timings.training([gspo(6.0, 6.0, 0, 1)], cycle=8)


def test_an_evaluation_is_listed_by_benchmark_and_condition() -> None:
    events = [
        Event("ask gspo, vstar, greedy", 1.0, 3.0, {"records": 4}),
        Event("ask gspo, vstar, 8 samples", 3.0, 9.0, {"records": 2}),
    ]
    asked = timings.asked([Trace(events=events)])
    assert [(each.benchmark, each.condition, each.records, each.seconds) for each in asked] == [
        ("vstar", "greedy", 4, 2.0),
        ("vstar", "8 samples", 2, 6.0),
    ]


def test_traces_are_read_back_in_order_of_rank(tmp_path: Path) -> None:
    for rank in (1, 0):
        gspo(6.0, 6.0, rank, 2).write(tmp_path)
    found = read_traces(tmp_path)
    assert [trace.rank for trace in found] == [0, 1]
    assert found[0] == gspo(6.0, 6.0, 0, 2)


def test_the_fullest_gpu_counts() -> None:
    traces = [Trace(device={"peak_bytes": size}) for size in (5, 9)]
    assert timings.peak_gpu_bytes(traces) == 9
    assert timings.peak_gpu_bytes([Trace()]) is None
