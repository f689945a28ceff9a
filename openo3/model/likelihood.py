"""How likely a model finds given texts about given frames, some of which are altered.

    view = {3: replace(frames[3], image=hidden)}             # frame 3 is shown otherwise
    asked = Asked(Prompt(frames, 9.5, question), [[Piece("<think></think><answer>"), Piece("red", True)]],
                  [{}, view])
    log_likelihoods(model, encoder, [asked])[0][1][0]        # of the second view's text: [pieces], in nats

Nothing is generated: texts are given to the model token by token (teacher forcing). A frame passes the vision
tower once for all views and questions that show it; only altered frames are encoded in addition. All texts of
a view share its row (`packing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from openo3.model.encode import Encoded, Prompt, PromptEncoder
from openo3.model.packing import Branch, Pack, collate, model_inputs
from openo3.model.vision import stacked

if TYPE_CHECKING:
    from openo3.media.frame_store import Frame

TOKENS_PER_BATCH = 16384


@dataclass(frozen=True)
class Piece:
    """A part of a text. Only what is `scored` counts; it is given all the pieces before it."""

    text: str
    scored: bool = False


Text = Sequence[Piece]
"""What the model is taken to have written, in order; each piece is made into tokens of its own."""
View = Mapping[int, "Frame"]
"""Frames that are shown in place of those of the prompt, by their numbers; of the same sizes."""


@dataclass(frozen=True)
class Asked:
    """A prompt, the texts whose likelihood is asked, and how its frames are shown."""

    prompt: Prompt
    texts: Sequence[Text]
    views: Sequence[View]


@dataclass(frozen=True)
class FrameFeatures:
    """What the language model gets of a frame: `embeds` [tokens, width], and `deep`, one such tensor for each
    layer that gets further features (Qwen3-VL)."""

    embeds: torch.Tensor
    deep: tuple[torch.Tensor, ...]


@torch.inference_mode()
def frame_features(
    model: Any, encoder: PromptEncoder, frames: Sequence[Frame], tokens_per_batch: int = TOKENS_PER_BATCH
) -> list[FrameFeatures]:
    """Each frame through the vision tower, up to `tokens_per_batch` patches at once."""
    found: list[FrameFeatures] = []
    for batch in _frame_batches(encoder, frames, tokens_per_batch):
        vision = encoder.vision(batch)
        assert vision.pixel_values is not None
        pixels, grids = vision.pixel_values.to(model.device), torch.tensor(vision.grids)
        made = model.model.get_image_features(pixels, stacked(grids).to(model.device), return_dict=True)
        counts = (grids.prod(dim=1) // encoder.merge**2).tolist()
        embeds = torch.cat(list(made.pooler_output)).split(counts)
        layers = [
            torch.cat(list(layer)).split(counts) for layer in getattr(made, "deepstack_features", None) or ()
        ]
        found += [
            FrameFeatures(embeds[place], tuple(layer[place] for layer in layers))
            for place in range(len(batch))
        ]
    return found


def log_likelihoods(
    model: Any, encoder: PromptEncoder, asked: Sequence[Asked], tokens_per_batch: int = TOKENS_PER_BATCH
) -> list[list[list[NDArray[np.float64]]]]:
    """Of each one asked, of each of its views, of each text, [pieces]: the summed log-probability of each
    scored piece; 0 for the others.

    The model should be in evaluation mode. `tokens_per_batch` bounds the tokens that pass it at once, unless
    a single row has more.
    """
    rows, places = _rows(model, encoder, asked, tokens_per_batch)
    order = sorted(range(len(rows)), key=lambda index: rows[index].length)
    sums: dict[int, list[NDArray[np.float64]]] = {}
    batch: list[int] = []
    for index in order:
        if batch and rows[index].length * (len(batch) + 1) > tokens_per_batch:
            sums |= zip(batch, _score(model, encoder, [rows[each] for each in batch]), strict=True)
            batch = []
        batch.append(index)
    if batch:
        sums |= zip(batch, _score(model, encoder, [rows[each] for each in batch]), strict=True)
    return [[sums[place] for place in of_one] for of_one in places]


@dataclass(frozen=True)
class _Row:
    """A view of a prompt with its texts; `counted` says of each text's target tokens in which of its pieces
    they count, -1 if in none, and `pieces` how many there are."""

    pack: Pack
    features: Sequence[FrameFeatures]
    counted: Sequence[Sequence[int]]
    pieces: Sequence[int]
    length: int


def _rows(
    model: Any, encoder: PromptEncoder, asked: Sequence[Asked], tokens_per_batch: int
) -> tuple[list[_Row], list[list[int]]]:
    """Rows with the features of their frames, and of each one asked the row of each of its views.

    Each different frame is encoded once, and what is asked twice (the frames as they are) has one row.
    Frames, prompts and texts are the same if they are the very object: pixels are not compared.
    """
    shown: dict[int, Frame] = {}
    for one in asked:
        for frame in (*one.prompt.frames, *(frame for view in one.views for frame in view.values())):
            shown.setdefault(id(frame), frame)
    features = frame_features(model, encoder, list(shown.values()), tokens_per_batch)
    by_frame = dict(zip(shown, features, strict=True))
    rows: list[_Row] = []
    known: dict[tuple[int, ...], int] = {}
    places = []
    for one in asked:
        vision = encoder.unseen([frame.image.size for frame in one.prompt.frames])
        encoded = encoder.encode(one.prompt, vision)
        branches, counted = zip(*(_branch(encoder, encoded, text) for text in one.texts), strict=True)
        pack = Pack((*encoded.prefix_ids, *encoded.context_ids[:-1]), encoded.vision.grids, None, branches)
        length = len(pack.prefix_ids) + sum(len(b.context_ids) + len(b.target_ids) for b in branches)
        pieces = [len(text) for text in one.texts]
        places.append([])
        for view in one.views:
            frames = [view.get(number, frame) for number, frame in enumerate(one.prompt.frames)]
            key = (id(one.prompt), *map(id, one.texts), *map(id, frames))
            if key not in known:
                known[key] = len(rows)
                rows.append(_Row(pack, [by_frame[id(frame)] for frame in frames], counted, pieces, length))
            places[-1].append(known[key])
    return rows, places


def _branch(encoder: PromptEncoder, encoded: Encoded, text: Text) -> tuple[Branch, list[int]]:
    """A text after the last token of its prompt, from its first scored piece on as targets."""
    pieces = [(encoder.target(piece.text)[:-1], piece.scored) for piece in text]
    first = next((number for number, (_, scored) in enumerate(pieces) if scored), len(pieces))
    before = [token for ids, _ in pieces[:first] for token in ids]
    targets = [
        (token, number if scored else -1)
        for number, (ids, scored) in enumerate(pieces[first:], start=first)
        for token in ids
    ]
    branch = Branch((encoded.context_ids[-1], *before), [token for token, _ in targets])
    return branch, [number for _, number in targets]


@torch.inference_mode()
def _score(model: Any, encoder: PromptEncoder, rows: Sequence[_Row]) -> list[list[NDArray[np.float64]]]:
    """The sums of each row's texts by piece."""
    batch = collate(
        [row.pack for row in rows],
        image_token=encoder.image_token_id,
        pad_token=encoder.tokenizer.pad_token_id,
        merge=encoder.merge,
    )
    labels = batch.pop("labels")[:, 1:]
    batch.pop("image_grid_thw", None)  # positions are there already
    features = [frame for row in rows for frame in row.features]
    given = {}
    if features:
        layers = zip(*(frame.deep for frame in features), strict=True)
        image = SimpleNamespace(
            pooler_output=[frame.embeds for frame in features],
            deepstack_features=[list(layer) for layer in layers],
        )
        given["mm_encoder_outputs"] = {"image": image}
    hidden = model.model(**model_inputs(model, batch), **given).last_hidden_state
    targets = labels >= 0
    logits = model.lm_head(hidden[:, :-1][targets.to(hidden.device)]).float()
    chosen = labels[targets].to(logits.device)
    values = (logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(dim=1)).double().cpu().numpy()
    sums, at = [], 0
    for row in rows:
        of_row = []
        for counted, pieces in zip(row.counted, row.pieces, strict=True):
            piece = np.array(counted, dtype=int)
            found = values[at : at + len(counted)]
            of_row.append(np.bincount(piece[piece >= 0], found[piece >= 0], pieces))
            at += len(counted)
        sums.append(of_row)
    return sums


def _frame_batches(
    encoder: PromptEncoder, frames: Sequence[Frame], patches: int
) -> Iterator[Sequence[Frame]]:
    """The frames in order, in batches of at most so many patches, or of one frame."""
    side = encoder.processor.image_processor.patch_size
    start = held = 0
    for number, frame in enumerate(frames):
        count = (frame.image.width // side) * (frame.image.height // side)
        if number > start and held + count > patches:
            yield frames[start:number]
            start, held = number, 0
        held += count
    if start < len(frames):
        yield frames[start:]
