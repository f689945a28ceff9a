"""Decoding of branches equals transformers' own `generate`, row by row and token by token."""

import copy
from collections import Counter

import pytest
import torch
from torch.nn import functional as F
from transformers import DynamicCache
from transformers.cache_utils import Cache

from openo3.model.decode_step import ROOM, Slots, SlottedLayer
from openo3.model.decoding import Generation, Sampling, _draw, decode
from openo3.model.packing import Branch, Pack
from tests.openo3.model.families import Family

QUESTIONS = ["When is the red circle in view?", "Where?", "Which shape enters after the blue square?"]
NEW = 12


def packs_of_all_kinds(family: Family) -> list[Pack]:
    return [
        family.pack(family.frames(3, (2, 2)), QUESTIONS),
        family.pack(family.frames(1, (3, 1), seed=1), QUESTIONS[1:2]),
        family.pack(family.frames(2, (2, 3), seed=2), QUESTIONS[:2]),
    ]


def ids_of(written: list[list[Generation]]) -> list[list[list[int]]]:
    return [[generation.ids for generation in row] for row in written]


def generate(
    family: Family, pack: Pack, branch: Branch, end_tokens: list[int], penalty: float = 1.0
) -> list[int]:
    """Greedy output of transformers for one branch alone."""
    ids = torch.tensor([[*pack.prefix_ids, *branch.context_ids]])
    image = family.encoder.image_token_id
    written = family.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == image).int(),
        pixel_values=pack.pixel_values,
        image_grid_thw=torch.tensor(pack.grids),
        do_sample=False,
        max_new_tokens=NEW,
        eos_token_id=end_tokens,
        pad_token_id=family.processor.tokenizer.pad_token_id,
        suppress_tokens=[image],
        repetition_penalty=penalty,
    )
    return written[0, ids.shape[1] :].tolist()


def scored(family: Family, pack: Pack, branch: Branch, ids: list[int], temperature: float) -> torch.Tensor:
    """Log-probabilities [len(ids), V] at each of `ids`, from a plain forward pass over the whole text."""
    whole = Pack(pack.prefix_ids, pack.grids, pack.pixel_values, [Branch(branch.context_ids, ids)])
    with torch.no_grad():
        return F.log_softmax(family.logits([whole])[0, -len(ids) - 1 : -1] / temperature, dim=-1)


def test_greedy_decoding_equals_generate(family: Family) -> None:
    packs = packs_of_all_kinds(family)
    written = family.decode(packs, Sampling(NEW), end_tokens=[])
    for pack, generations in zip(packs, written, strict=True):
        assert len(generations) == len(pack.branches)
        for branch, generation in zip(pack.branches, generations, strict=True):
            assert generation.ids == generate(family, pack, branch, [])
            assert len(generation.ids) == len(generation.logprobs) == NEW


def test_branches_may_end_at_different_steps(family: Family) -> None:
    """Uses as end tokens those that some branches generate and others do not."""
    packs = packs_of_all_kinds(family)
    free = [
        generation.ids for row in family.decode(packs, Sampling(NEW), end_tokens=[]) for generation in row
    ]
    ends = [free[0][3], free[2][6], free[3][1]]
    written = family.decode(packs, Sampling(NEW), end_tokens=ends)
    lengths = set()
    for pack, generations in zip(packs, written, strict=True):
        for branch, generation in zip(pack.branches, generations, strict=True):
            assert generation.ids == generate(family, pack, branch, ends)
            assert not set(generation.ids[:-1]) & set(ends)
            lengths.add(len(generation.ids))
    assert len(lengths) > 1


def test_a_repetition_penalty_is_that_of_generate(family: Family) -> None:
    """Prompt and answer count; branches that end at different steps keep their own tokens."""
    packs = packs_of_all_kinds(family)
    penalised = Sampling(NEW, repetition_penalty=1.5)
    free = [written.ids for row in family.decode(packs, penalised, end_tokens=[]) for written in row]
    assert free != [w.ids for row in family.decode(packs, Sampling(NEW), end_tokens=[]) for w in row]
    ends = [free[0][3], free[2][6]]
    for pack, generations in zip(packs, family.decode(packs, penalised, end_tokens=ends), strict=True):
        for branch, generation in zip(pack.branches, generations, strict=True):
            assert generation.ids == generate(family, pack, branch, ends, penalty=1.5)


def test_all_branches_may_end_at_once(family: Family) -> None:
    pack = family.pack(family.frames(1), QUESTIONS)
    everything = list(range(family.model.config.get_text_config().vocab_size))
    (generations,) = family.decode([pack], Sampling(NEW, temperature=1.0, n=2), end_tokens=everything)
    assert [len(generation.ids) for generation in generations] == [1] * 6


@pytest.mark.parametrize("new", [0, 1])
def test_decoding_stops_at_the_token_limit(family: Family, new: int) -> None:
    (generations,) = family.decode([family.pack(family.frames(1), QUESTIONS)], Sampling(new))
    assert [len(generation.ids) for generation in generations] == [new] * 3


def test_a_pack_without_questions_gives_no_completions(family: Family) -> None:
    packs = packs_of_all_kinds(family)
    packs[1] = Pack(packs[1].prefix_ids, packs[1].grids, packs[1].pixel_values)
    sampling = Sampling(NEW)
    alone = [family.decode([pack], sampling)[0] for pack in (packs[0], packs[2])]
    assert ids_of(family.decode(packs, sampling)) == ids_of([alone[0], [], alone[1]])


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
def test_logprobs_equal_those_of_a_plain_forward_pass(family: Family, temperature: float) -> None:
    packs = packs_of_all_kinds(family)
    sampling = Sampling(NEW, temperature=temperature, top_p=0.9, n=2, seed=3)
    for pack, generations in zip(packs, family.decode(packs, sampling), strict=True):
        assert len(generations) == 2 * len(pack.branches)
        for number, generation in enumerate(generations):
            scores = scored(family, pack, pack.branches[number // 2], generation.ids, temperature or 1.0)
            expected = scores.gather(1, torch.tensor(generation.ids)[:, None]).squeeze(1)
            torch.testing.assert_close(torch.tensor(generation.logprobs), expected, atol=1e-3, rtol=0)


def test_samples_are_reproducible_and_differ(family: Family) -> None:
    packs = packs_of_all_kinds(family)
    first, again, other = (
        ids_of(family.decode(packs, Sampling(NEW, temperature=1.0, n=3, seed=seed))) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other
    assert len({tuple(ids) for ids in first[0][:3]}) > 1


def test_samples_follow_the_models_distribution(family: Family) -> None:
    """Chi-square of 2000 first tokens over the likely ones, and over those that follow the likeliest."""
    pack = family.pack(family.frames(1), ["Where?"])
    temperature, count = 0.4, 2000
    sampling = Sampling(2, temperature=temperature, n=50, seed=1)
    rows = family.decode([pack] * (count // 50), sampling, end_tokens=[])
    written = [generation.ids for row in rows for generation in row]
    first = scored(family, pack, pack.branches[0], [0], temperature)[0].exp()
    assert chi_square(Counter(ids[0] for ids in written), first, count) < 1.6
    likeliest = int(first.argmax())
    second = scored(family, pack, pack.branches[0], [likeliest, 0], temperature)[1].exp()
    after = Counter(ids[1] for ids in written if ids[0] == likeliest)
    assert chi_square(after, second, after.total()) < 2.2


def chi_square(seen: Counter, probabilities: torch.Tensor, count: int) -> float:
    """Chi-square per degree of freedom; tokens expected fewer than five times are one class."""
    expected = {token: p * count for token, p in enumerate(probabilities.tolist())}
    likely = {token: number for token, number in expected.items() if number >= 5}
    rest = count - sum(likely.values())
    terms = [(seen[token] - number) ** 2 / number for token, number in likely.items()]
    terms.append((count - sum(seen[token] for token in likely) - rest) ** 2 / max(rest, 1.0))
    assert len(terms) > 3, "a distribution this narrow would show nothing"
    return sum(terms) / (len(terms) - 1)


@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.8])
def test_top_p_keeps_the_smallest_set_that_reaches_it(family: Family, top_p: float) -> None:
    pack = family.pack(family.frames(1), ["Where?"])
    sampling = Sampling(1, temperature=1.0, top_p=top_p, n=50, seed=2)
    rows = family.decode([pack] * 16, sampling)
    seen = {generation.ids[0] for row in rows for generation in row}
    ranked, order = scored(family, pack, pack.branches[0], [0], 1.0)[0].exp().sort(descending=True)
    kept = 1 + int((ranked.cumsum(0) < top_p).sum())
    assert seen <= set(order[:kept].tolist())
    assert len(seen) >= min(kept, 5)


@pytest.mark.parametrize("by_sorting", [False, True])
def test_draws_follow_the_probabilities_within_the_smallest_set(by_sorting: bool) -> None:
    weights = torch.tensor([0.05, 0.4, 0.02, 0.25, 0.2, 0.08]).repeat(20_000, 1)
    generator = torch.Generator().manual_seed(0)
    drawn = _draw(weights, 0.8, generator, by_sorting=by_sorting)
    shares = torch.bincount(drawn.flatten(), minlength=6) / len(drawn)
    expected = torch.tensor([0.0, 0.4, 0.0, 0.25, 0.2, 0.0]) / 0.85
    torch.testing.assert_close(shares, expected, atol=0.012, rtol=0)
    assert not shares[expected == 0].any()


def test_image_tokens_are_never_generated(family: Family) -> None:
    """A completion with the image token could not be trained on, as there is no patch for it."""
    image = family.encoder.image_token_id
    bias = torch.zeros(family.model.config.get_text_config().vocab_size)
    bias[image] = 1e4
    hook = family.model.lm_head.register_forward_hook(lambda module, inputs, logits: logits + bias)
    try:
        for temperature in (0.0, 1.0):
            rows = family.decode(
                packs_of_all_kinds(family), Sampling(4, temperature=temperature), end_tokens=[]
            )
            assert all(image not in generation.ids for row in rows for generation in row)
    finally:
        hook.remove()


def test_empty_cache_slots_are_not_attended_to(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where every step reads all slots of the cache."""
    packs, sampling = packs_of_all_kinds(family), Sampling(NEW, temperature=0.7, n=2, seed=3)
    expected = family.decode(packs, sampling)
    take = Slots.take
    monkeypatch.setattr(
        Slots, "take", lambda slots, count, **step: take(slots, count, whole_room="whole_room" in step)
    )
    for ours, theirs in zip(family.decode(packs, sampling), expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.ids == other.ids
            torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-4, rtol=0)


@pytest.mark.gpu
def test_fused_recorded_steps_generate_the_same_as_plain_ones(family: Family) -> None:
    """Single precision, over a growing cache and with branches that end at different steps."""
    packs = packs_of_all_kinds(family)
    on_gpu = copy.deepcopy(family.model).cuda()
    special = {"image_token": family.encoder.image_token_id, "pad_token": 0, "merge": family.encoder.merge}
    fused, plain = (
        decode(
            on_gpu,
            packs,
            Sampling(2 * NEW, n=2),
            **special,
            end_tokens=[3, 5, 7, 11],
            generator=torch.Generator("cuda"),
            fused=fused,
        )
        for fused in (True, False)
    )
    assert ids_of(fused) == ids_of(plain)
    for pack, generations in zip(packs, fused, strict=True):
        for number, generation in enumerate(generations):
            scores = scored(family, pack, pack.branches[number // 2], generation.ids, 1.0)  # on the CPU
            expected = scores.gather(1, torch.tensor(generation.ids)[:, None]).squeeze(1)
            torch.testing.assert_close(torch.tensor(generation.logprobs), expected, atol=1e-2, rtol=0)
            # greedy but for near ties: convolutions on a GPU round their inputs
            assert (scores.max(1).values - expected).max() < 1e-2


def test_slotted_layer_is_a_dynamic_cache() -> None:
    torch.manual_seed(0)
    slots = Slots(torch.device("cpu"))
    slotted, dynamic = Cache(layers=[SlottedLayer(slots)]), DynamicCache()
    for length in (3, 1, 1, 90, 1, ROOM, 1):
        step = torch.randn(2, 3, length, 4), torch.randn(2, 3, length, 4)
        slots.take(length)
        for ours, theirs in zip(slotted.update(*step, 0), dynamic.update(*step, 0), strict=True):
            assert torch.equal(ours, theirs)
    slots.take(1, whole_room=True)
    keys, _ = slotted.update(torch.ones(2, 3, 1, 4), torch.ones(2, 3, 1, 4), 0)
    assert keys.shape[2] == 2 * ROOM
    assert not keys[:, :, slots.filled :].any()
