"""Rows that join and leave a running batch get the answers that they would get alone."""

from __future__ import annotations

import torch

from openo3.model.continuous import ContinuousBatch, Row
from openo3.model.decoding import Sampling, decode
from openo3.model.encode import Prompt
from openo3.model.packing import Branch, Pack
from tests.openo3.model.families import Family

QUESTIONS = ["When is the red circle in view?", "Where?", "Which shape enters after the blue square?"]


def prompts(family: Family) -> list[Prompt]:
    shapes = [(3, (2, 2)), (1, (3, 1)), (2, (2, 3))]
    clips = [family.frames(count, size, seed) for seed, (count, size) in enumerate(shapes)]
    return [Prompt(frames, 9.5, text) for frames, text in zip(clips, QUESTIONS, strict=True)]


def alone(family: Family, prompt: Prompt, sampling: Sampling) -> list[list[int]]:
    encoded = family.encoder.encode(prompt)
    [written] = decode(
        family.model,
        [
            Pack(
                encoded.prefix_ids,
                encoded.vision.grids,
                encoded.vision.pixel_values,
                [Branch(encoded.context_ids, ())],
            )
        ],
        sampling,
        image_token=family.encoder.image_token_id,
        pad_token=family.encoder.tokenizer.pad_token_id,
        end_tokens=family.encoder.end_ids,
        merge=family.encoder.merge,
        generator=torch.Generator().manual_seed(sampling.seed),
    )
    return [generation.ids for generation in written]


def run(batch: ContinuousBatch, steps: int = 100) -> None:
    for _ in range(steps):
        if not batch.rows:
            return
        batch.step()


def ids(row: Row) -> list[list[int]]:
    return [generation.ids for generation in row.written]


def test_rows_that_join_later_write_what_they_write_alone(family: Family) -> None:
    samplings = [Sampling(12), Sampling(20), Sampling(7)]
    rows = [
        Row(family.encoder.encode(prompt), sampling)
        for prompt, sampling in zip(prompts(family), samplings, strict=True)
    ]
    batch = ContinuousBatch(family.model, family.encoder)
    for row in rows:
        batch.join([row])
        run(batch, steps=4)
    run(batch)
    for row, prompt, sampling in zip(rows, prompts(family), samplings, strict=True):
        assert ids(row) == alone(family, prompt, sampling)
        assert row.done


def test_every_row_has_its_own_sampling_and_seed(family: Family) -> None:
    samplings = [Sampling(9, 1.0, 0.9, n=3, seed=5), Sampling(12), Sampling(10, 0.7, seed=1)]
    rows = [
        Row(family.encoder.encode(prompt), sampling)
        for prompt, sampling in zip(prompts(family), samplings, strict=True)
    ]
    batch = ContinuousBatch(family.model, family.encoder)
    batch.join(rows)
    run(batch)
    for row, prompt, sampling in zip(rows, prompts(family), samplings, strict=True):
        assert ids(row) == alone(family, prompt, sampling)


def test_a_row_that_leaves_changes_nothing_for_the_others(family: Family) -> None:
    first, second, _ = (Row(family.encoder.encode(prompt), Sampling(12)) for prompt in prompts(family))
    batch = ContinuousBatch(family.model, family.encoder)
    batch.join([first, second])
    run(batch, steps=3)
    batch.leave(first)
    run(batch)
    assert [len(written) for written in ids(first)] == [3]
    assert ids(second) == alone(family, prompts(family)[1], Sampling(12))


def test_one_answer_of_a_row_can_end_before_the_others(family: Family) -> None:
    sampling = Sampling(8, 1.0, n=3, seed=2)
    row = Row(family.encoder.encode(prompts(family)[0]), sampling)
    batch = ContinuousBatch(family.model, family.encoder)
    batch.join([row])
    run(batch, steps=2)
    batch.close(row, 1)
    run(batch)
    assert [len(written) for written in ids(row)] == [8, 2, 8]


def test_a_question_without_frames_is_answered_beside_one_with_frames(family: Family) -> None:
    plain = Prompt((), None, "Where?")
    rows = [Row(family.encoder.encode(prompt), Sampling(6)) for prompt in (plain, prompts(family)[0])]
    batch = ContinuousBatch(family.model, family.encoder)
    batch.join(rows)
    run(batch)
    assert ids(rows[0]) == alone(family, plain, Sampling(6))
    assert ids(rows[1]) == alone(family, prompts(family)[0], Sampling(6))
    assert family.encoder.image_token_id not in rows[0].encoded.prefix_ids


def test_the_cache_does_not_grow_while_rows_come_and_go(family: Family) -> None:
    batch = ContinuousBatch(family.model, family.encoder)
    longest = 0
    for number in range(12):
        batch.join([Row(family.encoder.encode(prompts(family)[number % 3]), Sampling(6))])
        run(batch, steps=3)
        longest = max(longest, batch.slots)
    prompt = max(len(e.prefix_ids) + len(e.context_ids) for e in map(family.encoder.encode, prompts(family)))
    assert longest <= prompt + 6 + 3
