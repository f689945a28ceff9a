"""Whether an answer depends on the evidence that it cites.

    claims, _ = placed_claims(completion, prompt.frames, prompt.duration_s, hiding)
    asked = Question(prompt, completion, [(claim.place, claim.number) for claim in claims])
    [effects] = claim_effects(model, encoder, [asked], hiding)
    effects[0].necessity(CHAIN)

For each claim the model is asked again with the cited boxes painted over, in every frame within a second of
the cited time, and with boxes of the same size at random places painted over instead. The GIVEN text is
scored by its log-probability each time; nothing is generated. What the cited boxes cost beyond the random
ones is the claim's necessity, in nats. For the whole answer, only the cited boxes are shown.

A reasoning that has named the answer is all that a model needs to repeat it. Given the whole reasoning, the
answer hardly depends on any frame, and this says nothing about evidence. Without any reasoning, a model that
was trained to reason is asked for something it never does. So the text is scored in several readings:

    chain      what the model names from this claim on, object by object, and the answer, each given all that
               it wrote before: the answer as the model came to it
    later      the same without the claim's own name, unless that name is the answer: what follows from the
               claim, whoever named it
    frames     the answer without reasoning: it must come from the frames
    reasoned   the answer given the whole reasoning
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openo3.core.evidence import CLAIM, Claim, Completion, parse_claims
from openo3.media.hiding import Area, Fill, area_of, elsewhere, hide, only
from openo3.model.encode import Prompt, PromptEncoder
from openo3.model.likelihood import TOKENS_PER_BATCH, Asked, Piece, View, log_likelihoods

if TYPE_CHECKING:
    from openo3.media.frame_store import Frame

CHAIN, LATER, FRAMES, REASONED = "chain", "later", "frames", "reasoned"
READINGS = (CHAIN, LATER, FRAMES, REASONED)
"""How a text is scored for a claim."""
MAIN = CHAIN
WHOLE = (CHAIN, FRAMES, REASONED)
"""How it is scored for the whole answer."""

_CONTROLS_OF_WHOLE = 2  # draws: hundreds of answers average them


@dataclass(frozen=True)
class Hiding:
    """How evidence is hidden: in all frames within `around_s` seconds of the cited time, or in the nearest
    one if there is none; boxes grow by `margin` and are filled by `fill`, see `openo3.media.hiding`. `draws`
    random places are compared with each claim, drawn from `seed`."""

    around_s: float = 1.0
    margin: float = 0.1
    fill: Fill = "border"
    draws: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Place:
    """Where a claim points: `areas` in each of the `frames`, by their numbers."""

    frames: tuple[int, ...]
    areas: tuple[Area, ...]


@dataclass(frozen=True)
class PlacedClaim:
    """A claim of a reasoning with its place; `number` counts all claims of the reasoning from 0."""

    claim: Claim
    place: Place
    number: int


@dataclass(frozen=True)
class Effect:
    """Log-probabilities by reading: with the frames as they were `given`, with the claim's place `hidden`,
    and with the boxes `elsewhere` hidden, one value for each draw."""

    given: Mapping[str, float]
    hidden: Mapping[str, float]
    elsewhere: Mapping[str, Sequence[float]]

    def gaps(self, reading: str) -> NDArray[np.float64]:
        """[draws]: how much more hiding the cited place costs than hiding a random one, in nats."""
        return np.asarray(self.elsewhere[reading]) - self.hidden[reading]

    def necessity(self, reading: str) -> float:
        """The mean of `gaps`."""
        return float(self.gaps(reading).mean())


@dataclass(frozen=True)
class Whole:
    """Log-probabilities of an answer by reading: with the frames as they were `given`, with all of them
    `blank`, with `only` what it cites, and with only as large boxes `elsewhere`, one value for each of two
    draws."""

    given: Mapping[str, float]
    blank: Mapping[str, float]
    only: Mapping[str, float]
    elsewhere: Mapping[str, Sequence[float]]


def placed_claims(
    completion: Completion, frames: Sequence[Frame], duration_s: float | None, hiding: Hiding
) -> tuple[list[PlacedClaim], list[str]]:
    """The claims of a reasoning that point at a place in the frames, and why each of the others does not.

    Reasons: `no time` (in a video), `after the end`, `no area` (nothing of its boxes is inside the frame).
    """
    found: list[PlacedClaim] = []
    left_out: list[str] = []
    for number, claim in enumerate(completion.claims):
        place = place_of(claim, frames, duration_s, hiding)
        if isinstance(place, str):
            left_out.append(place)
        else:
            found.append(PlacedClaim(claim, place, number))
    return found, left_out


def place_of(claim: Claim, frames: Sequence[Frame], duration_s: float | None, hiding: Hiding) -> Place | str:
    """Where a claim points in the frames that the model saw, or why it points nowhere."""
    shown = [number for number, frame in enumerate(frames) if not frame.of_question]
    if duration_s is None:
        numbers = shown[:1]
    elif claim.time_s is None:
        return "no time"
    elif claim.time_s > duration_s:
        return "after the end"
    else:
        away = {number: abs(frames[number].time_s - claim.time_s) for number in shown}
        numbers = [number for number in shown if away[number] <= hiding.around_s]
        numbers = numbers or [min(shown, key=lambda number: away[number])]
    size = frames[numbers[0]].image.size
    areas = [area for box in claim.boxes if (area := area_of(box, size, hiding.margin))]
    return Place(tuple(numbers), tuple(areas)) if areas else "no area"


def hidden(frames: Sequence[Frame], place: Place, fill: Fill) -> View:
    """The frames of a place with its areas painted over."""
    return {
        number: replace(frames[number], image=hide(frames[number].image, place.areas, fill))
        for number in place.frames
    }


def shown_only(frames: Sequence[Frame], places: Sequence[Place]) -> View:
    """All frames with nothing but the places on them; the question's own pictures stay as they are."""
    by_frame: dict[int, list[Area]] = {}
    for place in places:
        for number in place.frames:
            by_frame.setdefault(number, []).extend(place.areas)
    return {
        number: replace(frame, image=only(frame.image, by_frame.get(number, ())))
        for number, frame in enumerate(frames)
        if not frame.of_question
    }


def random_places(place: Place, size: tuple[int, int], hiding: Hiding, *stream: int) -> list[Place]:
    """The places that a place is compared with: in the same frames, of this `(W, H)`, each area as large as
    before. They are the same for the same `stream`, the question and the place's number."""
    rng = np.random.default_rng([hiding.seed, *stream])
    return [
        replace(place, areas=tuple(elsewhere(area, size, rng) for area in place.areas))
        for _ in range(hiding.draws)
    ]


@dataclass(frozen=True)
class Question:
    """A prompt, a completion with an answer, and what is asked of it: each place with the number of the claim
    in whose stead it is hidden. `key` seeds its random places, together with the number of the place."""

    prompt: Prompt
    completion: Completion
    places: Sequence[tuple[Place, int]]
    key: int = 0

    def others(self, number: int, hiding: Hiding) -> list[Place]:
        """The random places that a place of this number is compared with."""
        place, _ = self.places[number]
        size = self.prompt.frames[place.frames[0]].image.size
        return random_places(place, size, hiding, self.key, number)


@dataclass(frozen=True)
class Script:
    """A completion as pieces to score: `names` are the places of the claims' names among them, `answer` those
    of the answer and the tag that ends it. `answers_itself` says of each claim whether its name is the
    answer."""

    pieces: Sequence[Piece]
    names: Sequence[int]
    answer: Sequence[int]
    answers_itself: Sequence[bool]

    @classmethod
    def of(cls, completion: Completion) -> Script:
        """The first reasoning and answer of a completion; what else a model wrote is left out."""
        reasoning, said = completion.reasoning or "", completion.answer or ""
        pieces, names, itself, end = [Piece("<think>")], [], [], 0
        for match in CLAIM.finditer(reasoning):
            if not parse_claims(match[0], completion.space):
                continue
            start, stop = match.span(1)
            pieces += [Piece(reasoning[end:start]), Piece(reasoning[start:stop], scored=True)]
            names.append(len(pieces) - 1)
            itself.append(bool(match[1].strip()) and _names(said, match[1]))
            end = stop
        pieces += [Piece(f"{reasoning[end:]}</think><answer>"), *_answer(completion)]
        return cls(pieces, names, (len(pieces) - 2, len(pieces) - 1), itself)

    def counted(self, reading: str, claim: int) -> list[int]:
        """The pieces that count in `chain`, `later` or `reasoned`, for the claim of this number."""
        if reading == REASONED:
            return [*self.answer]
        own = [self.names[claim]] if reading == CHAIN or self.answers_itself[claim] else []
        return [*own, *self.names[claim + 1 :], *self.answer]


def claim_effects(
    model: Any,
    encoder: PromptEncoder,
    questions: Sequence[Question],
    hiding: Hiding,
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> list[list[Effect]]:
    """The effect of each place of each question."""
    asked: list[Asked] = []
    scripts = [Script.of(question.completion) for question in questions]
    for question, script in zip(questions, scripts, strict=True):
        frames, texts = question.prompt.frames, _texts(question.completion, script)
        for number, (place, _) in enumerate(question.places):
            places = [place, *question.others(number, hiding)]
            views = [{}, *(hidden(frames, each, hiding.fill) for each in places)]
            asked.append(Asked(question.prompt, texts, views))
    found = iter(log_likelihoods(model, encoder, asked, tokens_per_batch))
    return [
        [_effect(next(found), script, claim) for _, claim in question.places]
        for question, script in zip(questions, scripts, strict=True)
    ]


def whole_effects(
    model: Any,
    encoder: PromptEncoder,
    questions: Sequence[Question],
    hiding: Hiding,
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> list[Whole]:
    """What the answer of each question, which has places, loses when all is hidden but these."""
    asked = []
    scripts = [Script.of(question.completion) for question in questions]
    controls = replace(hiding, draws=min(hiding.draws, _CONTROLS_OF_WHOLE))
    for question, script in zip(questions, scripts, strict=True):
        frames, places = question.prompt.frames, [place for place, _ in question.places]
        draws = [question.others(number, controls) for number in range(len(places))]
        views = [{}, *(shown_only(frames, each) for each in ([], places, *zip(*draws, strict=True)))]
        asked.append(Asked(question.prompt, _texts(question.completion, script), views))
    found = log_likelihoods(model, encoder, asked, tokens_per_batch)
    return [_whole(values, script) for values, script in zip(found, scripts, strict=True)]


_Values = Sequence[Sequence[NDArray[np.float64]]]
"""Of each view, of the two texts of `_texts`, [pieces]."""


def _texts(completion: Completion, script: Script) -> list[Sequence[Piece]]:
    """What the model wrote, and its answer without reasoning."""
    return [script.pieces, [Piece("<think></think><answer>"), *_answer(completion)]]


def _answer(completion: Completion) -> Iterator[Piece]:
    """The answer and the tag that ends it: with the latter, the answer says no more."""
    yield Piece(completion.answer or "", scored=True)
    yield Piece("</answer>", scored=True)


def _names(answer: str, name: str) -> bool:
    """Whether an answer contains a name as whole words."""
    words = r"\s+".join(map(re.escape, name.split()))
    return re.search(rf"(?<!\w){words}(?!\w)", answer, re.IGNORECASE) is not None


def _by_reading(
    values: _Values, script: Script, claim: int, readings: Sequence[str]
) -> dict[str, list[float]]:
    """Reading -> the value of each view, for the claim of this number."""
    return {
        reading: [
            float(of_frames.sum())
            if reading == FRAMES
            else float(written[script.counted(reading, claim)].sum())
            for written, of_frames in values
        ]
        for reading in readings
    }


def _effect(values: _Values, script: Script, claim: int) -> Effect:
    found = _by_reading(values, script, claim, READINGS)
    return Effect(_column(found, 0), _column(found, 1), {name: row[2:] for name, row in found.items()})


def _whole(values: _Values, script: Script) -> Whole:
    found = _by_reading(values, script, 0, WHOLE)
    given, blank, only_cited = (_column(found, number) for number in range(3))
    return Whole(given, blank, only_cited, {name: row[3:] for name, row in found.items()})


def _column(found: Mapping[str, Sequence[float]], number: int) -> dict[str, float]:
    return {name: row[number] for name, row in found.items()}
