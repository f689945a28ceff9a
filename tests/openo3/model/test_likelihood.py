"""Likelihoods of given texts equal those of the model's own plain forward pass, frames encoded once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from openo3.media.frame_store import Frame
from openo3.model.encode import Prompt
from openo3.model.likelihood import Asked, Piece, frame_features, log_likelihoods
from tests.openo3.model.families import Family

TEXTS = (
    (Piece("<think></think><answer>"), Piece("the red circle", scored=True), Piece("</answer>", scored=True)),
    (Piece("<think>The "), Piece("blue square", scored=True), Piece(" comes.</think><answer>"),
     Piece("From 1.0s", scored=True)),
)  # fmt: skip


def darker(frame: Frame) -> Frame:
    return replace(frame, image=Image.fromarray(np.asarray(frame.image) // 3))


def expected(family: Family, prompt: Prompt, frames: Sequence[Frame], text: Sequence[Piece]) -> float:
    """The same by one row with all frames encoded, as the model itself takes it."""
    encoder = family.encoder
    encoded = encoder.encode(replace(prompt, frames=tuple(frames)))
    ids, counted = [*encoded.prefix_ids, *encoded.context_ids], []
    counted += [False] * len(ids)
    for piece in text:
        tokens = encoder.target(piece.text)[:-1]
        ids += tokens
        counted += [piece.scored] * len(tokens)
    row = torch.tensor([ids])
    inputs = {
        "input_ids": row,
        "attention_mask": torch.ones_like(row),
        "mm_token_type_ids": (row == encoder.image_token_id).int(),
        "pixel_values": encoded.vision.pixel_values,
        "image_grid_thw": torch.tensor(encoded.vision.grids),
    }
    with torch.no_grad():
        logprobs = family.model(**inputs).logits[0].log_softmax(dim=-1)
    return sum(float(logprobs[at - 1, ids[at]]) for at in range(1, len(ids)) if counted[at])


def questions(family: Family) -> list[Asked]:
    """Prompts of different lengths and frame sizes, the second without altered frames."""
    first, second = family.frames(3, (2, 2)), family.frames(2, (1, 3), seed=1)
    return [
        Asked(Prompt(first, 9.5, "When is it?"), TEXTS, [{}, {1: darker(first[1])},
              {0: darker(first[0]), 2: darker(first[2])}]),
        Asked(Prompt(second, 4.0, "Where is the circle, and what is it?"), TEXTS[:1], [{}]),
    ]  # fmt: skip


@pytest.mark.parametrize("tokens_per_batch", [1, 100, 16384])
def test_likelihoods_equal_those_of_separate_rows(family: Family, tokens_per_batch: int) -> None:
    asked = questions(family)
    found = log_likelihoods(family.model, family.encoder, asked, tokens_per_batch)
    for one, values in zip(asked, found, strict=True):
        for view, of_view in zip(one.views, values, strict=True):
            frames = [view.get(number, frame) for number, frame in enumerate(one.prompt.frames)]
            for text, pieces in zip(one.texts, of_view, strict=True):
                assert [value != 0 for value in pieces] == [piece.scored for piece in text]
                assert pieces.sum() == pytest.approx(expected(family, one.prompt, frames, text), abs=2e-3)
    given, altered, _ = found[0]
    assert abs(given[0] - altered[0]).max() > 1e-3  # what is on a frame matters here


def test_each_frame_is_encoded_once(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Frame] = []
    vision = family.encoder.vision

    def watched(frames: Sequence[Frame]) -> Any:
        seen.extend(frames)
        return vision(frames)

    monkeypatch.setattr(family.encoder, "vision", watched)
    [asked, _] = questions(family)
    both = [asked, replace(asked, texts=TEXTS[1:])]
    log_likelihoods(family.model, family.encoder, both)
    assert len(seen) == 3 + 3  # three frames, and three altered ones


def test_features_do_not_depend_on_the_batch(family: Family) -> None:
    frames = [*family.frames(2, (2, 2)), *family.frames(3, (3, 1), seed=4)]
    together, alone = (frame_features(family.model, family.encoder, frames, tokens) for tokens in (10_000, 1))
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one.embeds, other.embeds, atol=1e-4)
        assert len(one.deep) == len(other.deep)
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(one.deep, other.deep, strict=True))


def test_a_text_of_which_nothing_counts_is_certain(family: Family) -> None:
    prompt = Prompt(family.frames(1), 1.0, "What?")
    [[[values]]] = log_likelihoods(family.model, family.encoder, [Asked(prompt, [[Piece("a")]], [{}])])
    assert values.tolist() == [0]
    assert log_likelihoods(family.model, family.encoder, []) == []


def test_a_prompt_without_frames_is_text_alone(family: Family) -> None:
    prompt = Prompt((), None, "What is red?")
    [[[values]]] = log_likelihoods(family.model, family.encoder, [Asked(prompt, TEXTS[:1], [{}])])
    assert values.tolist()[0] == 0 > max(values[1:])
