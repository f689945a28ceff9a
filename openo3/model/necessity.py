"""Whether an answer depends on the evidence that it cites.

    claims, _ = placed_claims(completion, prompt.frames, prompt.duration_s, hiding)
    asked = Question(prompt, completion, [(claim.place, claim.before) for claim in claims])
    [effects] = claim_effects(model, encoder, [asked], hiding)
    effects[0].necessity("before")

For each claim the model is asked again with the cited boxes painted over, in every frame within a second of
the cited time, and with boxes of the same size at random places painted over instead. The GIVEN answer is
scored by its log-probability each time; nothing is generated. What the cited boxes cost beyond the random
ones is the claim's necessity, in nats. For the whole answer, only the cited boxes are shown.

A reasoning that has already named the answer is all that a model needs to repeat it: given the reasoning, an
answer hardly depends on any frame, and this says nothing about the evidence. So the answer is scored in
several readings:

    before     the reasoning up to the sentence that makes the claim is kept, the rest is left out
    frames     there is no reasoning at all, the answer must come from the frames
    reasoned   the whole reasoning is kept
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openo3.core.evidence import CLAIM, Claim, Completion, parse_claims
from openo3.media.hiding import Area, Fill, area_of, elsewhere, hide, only
from openo3.model.encode import Prompt, PromptEncoder
from openo3.model.likelihood import TOKENS_PER_BATCH, Asked, Piece, Text, View, log_likelihoods

if TYPE_CHECKING:
    from openo3.media.frame_store import Frame

BEFORE, FRAMES, REASONED = "before", "frames", "reasoned"
READINGS = (BEFORE, FRAMES, REASONED)
"""How the answer of a claim is scored."""
WHOLE = (FRAMES, REASONED)
"""How an answer is scored that is not about one claim."""

_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+|\n")


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
    """A claim of a reasoning with its place; `before` is the reasoning up to the sentence that makes it."""

    claim: Claim
    place: Place
    before: str


@dataclass(frozen=True)
class Effect:
    """Log-probabilities of the answer by reading: as it was `given`, with the claim's place `hidden`, and
    with the boxes `elsewhere` hidden, one value for each draw."""

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
    """Log-probabilities of an answer by reading: as it was `given`, with all frames `blank`, with `only` what
    it cites, and with only as large boxes `elsewhere`, one value for each draw."""

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
    reasoning = completion.reasoning or ""
    for match in CLAIM.finditer(reasoning):
        for claim in parse_claims(match[0], completion.space):
            place = place_of(claim, frames, duration_s, hiding)
            if isinstance(place, str):
                left_out.append(place)
            else:
                found.append(PlacedClaim(claim, place, sentences_before(reasoning, match.start())))
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


def sentences_before(text: str, start: int) -> str:
    """The whole sentences of `text` that end before `start`.

    >>> sentences_before("It comes at 2.5 s. Next comes the cup.", 30)
    'It comes at 2.5 s.'
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, start)]
    return text[: ends[-1]].rstrip() if ends else ""


def text_of(completion: Completion, reasoning: str) -> Text:
    """The answer of a completion after some reasoning, as its model writes both; the answer is scored, with
    the tag that ends it."""
    return (
        Piece(f"<think>{reasoning}</think><answer>"),
        Piece(f"{completion.answer}", scored=True),
        Piece("</answer>", scored=True),
    )


def texts_of(completion: Completion, before: str) -> dict[str, Text]:
    """The answer in every reading, for a claim that has `before` in front of it."""
    reasonings = {BEFORE: before, FRAMES: "", REASONED: completion.reasoning or ""}
    return {reading: text_of(completion, reasonings[reading]) for reading in READINGS}


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


def moved(place: Place, size: tuple[int, int], rng: np.random.Generator) -> Place:
    """A place in the same frames whose areas are elsewhere, each as large as before."""
    return replace(place, areas=tuple(elsewhere(area, size, rng) for area in place.areas))


def random_places(place: Place, size: tuple[int, int], hiding: Hiding, *stream: int) -> list[Place]:
    """The places that a place is compared with, the same for the same `stream`: the question and the
    effect."""
    rng = np.random.default_rng([hiding.seed, *stream])
    return [moved(place, size, rng) for _ in range(hiding.draws)]


@dataclass(frozen=True)
class Question:
    """A prompt, a completion with an answer, and what is asked of it: a place with the reasoning before it
    for each effect to measure. `key` seeds its random places, together with the number of the place."""

    prompt: Prompt
    completion: Completion
    places: Sequence[tuple[Place, str]]
    key: int = 0


def claim_effects(
    model: Any,
    encoder: PromptEncoder,
    questions: Sequence[Question],
    hiding: Hiding,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    readings: Sequence[str] = READINGS,
) -> list[list[Effect]]:
    """The effect of each place of each question."""
    asked: list[Asked] = []
    for question in questions:
        frames = question.prompt.frames
        for number, (place, before) in enumerate(question.places):
            size = frames[place.frames[0]].image.size
            others = random_places(place, size, hiding, question.key, number)
            views = [{}, *(hidden(frames, each, hiding.fill) for each in (place, *others))]
            texts = texts_of(question.completion, before)
            asked.append(Asked(question.prompt, [texts[reading] for reading in readings], views))
    found = iter(log_likelihoods(model, encoder, asked, tokens_per_batch))
    return [[_effect(next(found), readings) for _ in question.places] for question in questions]


def whole_effects(
    model: Any,
    encoder: PromptEncoder,
    questions: Sequence[Question],
    hiding: Hiding,
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> list[Whole]:
    """What the answer of each question loses when all is hidden but what it cites."""
    asked = []
    for question in questions:
        frames, places = question.prompt.frames, [place for place, _ in question.places]
        draws = [
            random_places(place, frames[place.frames[0]].image.size, hiding, question.key, number)
            for number, place in enumerate(places)
        ]
        views = [{}, *(shown_only(frames, each) for each in ([], places, *zip(*draws, strict=True)))]
        texts = texts_of(question.completion, "")
        asked.append(Asked(question.prompt, [texts[reading] for reading in WHOLE], views))
    return [_whole(values) for values in log_likelihoods(model, encoder, asked, tokens_per_batch)]


def _effect(values: NDArray[np.float64], readings: Sequence[str]) -> Effect:
    """From [views, readings]."""
    given, hidden, *others = values
    return Effect(_named(readings, given), _named(readings, hidden), _lists(readings, others))


def _whole(values: NDArray[np.float64]) -> Whole:
    given, blank, only_cited, *others = values
    return Whole(_named(WHOLE, given), _named(WHOLE, blank), _named(WHOLE, only_cited), _lists(WHOLE, others))


def _named(readings: Sequence[str], values: Iterable[float]) -> dict[str, float]:
    return {reading: float(value) for reading, value in zip(readings, values, strict=True)}


def _lists(readings: Sequence[str], rows: Sequence[NDArray[np.float64]]) -> dict[str, list[float]]:
    return {reading: [float(row[number]) for row in rows] for number, reading in enumerate(readings)}
