"""What a candidate must pass to become a record, in this order; each filter is one function.

The first three look at the candidate alone. The others ask the checker again, about candidates that passed
the ones before: a second look at each box, the question to a model that sees the key frames alone, and the
question to a model that sees nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from openo3.annotating.asking import Asker
from openo3.annotating.candidates import Candidate, Item, cited, options_of
from openo3.annotating.clips import Clip
from openo3.annotating.params import FilterParams
from openo3.benchmarks.judges import CORRECT, RougeJudge
from openo3.core.answers import option_of
from openo3.core.evidence import parse_completion, parse_span
from openo3.core.geometry import box_iou, tiou
from openo3.core.reading import read_choice, read_times
from openo3.core.rouge import rouge
from openo3.core.schema import Sample, Task
from openo3.core.words import folded, same_words, words

_ROUNDING = 1e-6  # how far a box may extend beyond its frame, as in `openo3.validation`
_YES, _NO = re.compile(r"\W{0,9}yes\b", re.IGNORECASE), re.compile(r"\W{0,9}no\b", re.IGNORECASE)


@dataclass
class Context:
    """What a filter knows besides the candidate: `earlier` ones about the same clip."""

    clip: Clip
    params: FilterParams
    asker: Asker
    earlier: Sequence[Candidate]


Check = Callable[[Candidate, Context], Awaitable[str | None]]


@dataclass(frozen=True)
class Filter:
    """`check` gives what is wrong with a candidate, None if nothing is; `reason` is what reports count.

    `asks`: about how many requests it makes for a candidate of that many items.
    """

    name: str
    reason: str
    check: Check
    asks: Callable[[int, FilterParams], int] = lambda items, params: 0


async def boxes(candidate: Candidate, context: Context) -> str | None:
    """Boxes that are degenerate, outside the frame, or cover nearly all of it."""
    params = context.params
    for item in (*candidate.items, *cited(candidate.sample)):
        x1, y1, x2, y2 = item.box
        wide, high = x2 - x1, y2 - y1
        problem = None
        if min(item.box) < -_ROUNDING or max(item.box) > 1 + _ROUNDING:
            problem = "outside the frame"
        elif min(wide, high) < params.min_box_side:
            problem = f"a side of {min(wide, high):.3f}"
        elif wide * high > params.max_box_area:
            problem = f"{wide * high:.0%} of the frame"
        if problem:
            return f"{item.name}: {problem}"
    return None


async def citations(candidate: Candidate, context: Context) -> str | None:
    """Claims of the reasoning that disagree with the key items, and reasoning that proves nothing."""
    sample, params = candidate.sample, context.params
    found = list(cited(sample))
    times_s = parse_completion(f"<think>{sample.reasoning or ''}</think>").times_s
    span = parse_span(sample.answer) if sample.task in (Task.TEMPORAL, Task.TEMPORAL_MCQ) else None
    if span:
        if not times_s:
            return "cites no time"
        if away := [
            t for t in times_s if not span[0] - params.citation_s <= t <= span[1] + params.citation_s
        ]:
            return f"cites {away[0]:g} s, the answer is {span[0]:g} to {span[1]:g} s"
    elif not found and sample.task in (Task.TEMPORAL_SPATIAL, Task.VISUAL):
        return "cites no box"
    for claim in found:
        if not sample.is_image and claim.time_s is None:
            return f"{claim.name}: cited without a time"
        if problem := _disagreement(claim, candidate.items, params):
            return f"{claim.name}: {problem}"
    return None


def _disagreement(claim: Item, items: Sequence[Item], params: FilterParams) -> str | None:
    """How a claim disagrees with the key items nearest to it in time."""
    distance = {item: abs((item.time_s or 0.0) - (claim.time_s or 0.0)) for item in items}
    near = [item for item in items if distance[item] <= params.citation_s]
    if not near:
        return f"no key frame within {params.citation_s:g} s of {claim.time_s or 0.0:g} s"
    named = [item for item in near if same_words(item.name, claim.name)]
    if not named:
        return "no key item of this name then"
    nearest = min(distance[item] for item in named)
    best = max(box_iou(claim.box, item.box) for item in named if distance[item] == nearest)
    return None if best >= params.citation_iou else f"overlaps its key item by {best:.2f}"


async def duplicates(candidate: Candidate, context: Context) -> str | None:
    """Questions that repeat an earlier one about the same clip."""
    asked = _bare(candidate.sample)
    for other in context.earlier:
        said = _bare(other.sample)
        if same_words(said, asked) or rouge(said, asked) >= context.params.duplicate_likeness:
            return f"repeats {other.sample.id}"
    return None


def _bare(sample: Sample) -> str:
    """The question without its options."""
    return sample.question.partition("\n")[0] if options_of(sample) else sample.question


async def second_look(candidate: Candidate, context: Context) -> str | None:
    """Boxes in which the checker, shown the crop alone, does not find their object."""
    items = list(dict.fromkeys(candidate.items))
    if not items:
        return None
    said = await _together(context.asker.second_look(context.clip, item) for item in items)
    params = context.params
    missed = [
        item.name
        for item, text in zip(items, said, strict=True)
        if not confirms(text, item.name, params.confirm)
    ]
    share = 1 - len(missed) / len(items)
    return None if share >= params.min_confirmed else f"{missed[0]}: not seen in its box ({share:.0%} are)"


def confirms(said: str, name: str, kind: str) -> bool:
    """Whether a second look's answer, to a question of that kind, confirms the object.

    >>> confirms("Yes, it is.", "cup", "yes-no"), confirms("The red cup and a plate", "red cup", "name")
    (True, True)
    """
    answer = said.rpartition("</think>")[2].strip()
    if kind == "yes-no":
        return bool(_YES.match(answer)) and not _NO.match(answer)
    object_words, seen = words(folded(name)).split(), words(folded(answer)).split()
    size = len(object_words)
    return size > 0 and any(seen[at : at + size] == object_words for at in range(len(seen) - size + 1))


async def key_frames(candidate: Candidate, context: Context) -> str | None:
    """Answers that are not reproduced by a model that sees the key frames alone.

    Spans cannot be told from single frames, and an image is its own key frame: these are not asked.
    """
    asked = (Task.TEMPORAL_SPATIAL, Task.MCQ, Task.FREE_FORM)
    if candidate.sample.task not in asked or not candidate.times_s:
        return None
    said = await context.asker.from_key_frames(context.clip, candidate)
    return None if await _right(candidate.sample, said, context) else f"answered {said.strip()[:80]!r}"


async def blind(candidate: Candidate, context: Context) -> str | None:
    """Questions that are answered as well without any picture. Places in an image cannot be guessed."""
    params = context.params
    if candidate.sample.task is Task.VISUAL or not params.blind_times:
        return None
    asker, numbers = context.asker, range(params.blind_times)
    said = await _together(asker.blind(context.clip, candidate, number) for number in numbers)
    right = sum([await _right(candidate.sample, text, context) for text in said])
    too_often = right / params.blind_times > params.max_blind_right
    return f"right {right} of {params.blind_times} times without frames" if too_often else None


async def _together(asked: Iterable[Awaitable[str]]) -> list[str]:
    """All replies; an error is raised once every request has ended, so that no reply is lost."""
    found = await asyncio.gather(*asked, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [each for each in found if isinstance(each, str)]


async def _right(sample: Sample, said: str, context: Context) -> bool:
    """Whether an answer in free words says what the record's does."""
    if options := options_of(sample):
        truth = option_of(sample.answer) if sample.task is Task.TEMPORAL_MCQ else sample.answer
        return read_choice(said, options)[0] == truth
    if (span := parse_span(sample.answer)) is not None:
        answered = read_times(said)
        return answered is not None and tiou(span, answered) >= context.params.span_iou
    answer = said.rpartition("</think>")[2].strip()
    [rating] = RougeJudge().rate([(sample.question, sample.answer, answer)])
    if context.params.answers == "words" or rating >= CORRECT or not answer:
        return rating >= CORRECT
    return await context.asker.grades_as_right(sample.question, sample.answer, answer)


FILTERS: Mapping[str, Filter] = {
    each.name: each
    for each in (
        Filter("boxes", "box too large or degenerate", boxes),
        Filter("citations", "citation disagrees with the key items", citations),
        Filter("duplicates", "question repeated", duplicates),
        Filter("second-look", "object not confirmed in its box", second_look, lambda items, params: items),
        Filter(
            "key-frames", "answer not reproduced from the key frames", key_frames, lambda items, params: 1
        ),
        Filter("blind", "answered without frames", blind, lambda items, params: params.blind_times),
    )
}
"""By name, in the order in which they are applied."""


def used(params: FilterParams) -> list[Filter]:
    """The filters that the parameters name, in order. Raises `ValueError` for an unknown one."""
    names = FILTERS if params.use is None else params.use
    if unknown := [name for name in names if name not in FILTERS]:
        raise ValueError(f"filters.use: {unknown[0]!r} is none of {', '.join(FILTERS)}")
    return [each for name, each in FILTERS.items() if name in names]
