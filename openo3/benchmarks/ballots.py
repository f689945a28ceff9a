"""Several answers to each record's question: which say the same, which wins, and what that scores.

`openo3.benchmarks.voting` asks for the answers.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from statistics import fmean
from typing import Any

from openo3.benchmarks.base import Benchmark, Record, Results, Votable, prediction
from openo3.benchmarks.judges import SAME, Item, Judge, Unclear
from openo3.core import selective, voting
from openo3.core.geometry import BoxSpace
from openo3.core.metrics import bootstrap, with_intervals

NO_EVIDENCE = "none"
"""In the shares of ratings: answers without usable evidence."""


@dataclass(frozen=True)
class Ballot:
    """The answers to one record's question.

    `results` are the record with each of the `completions` filled in, judged; `scores` in 0-1 say whether it
    is right. `groups` has for each answer the index of the first that says the same, None if it cannot be
    read. `unanswered` is the record without an answer.
    """

    record: Record
    space: BoxSpace
    prompt: str
    completions: tuple[str, ...]
    results: tuple[Mapping[str, Any], ...]
    scores: tuple[float, ...]
    groups: tuple[int | None, ...]
    unanswered: Mapping[str, Any]

    @property
    def unanimous(self) -> bool:
        """Whether all answers can be read and say the same: no weights change what wins, or its share."""
        return set(self.groups) == {0}


@dataclass(frozen=True)
class Relevance:
    """The `ratings` of one record's answers by their evidence, None for one without usable evidence. `crops`
    and prompt `tokens` were shown for them. All is empty if no answer was rated."""

    ratings: tuple[int | None, ...] = ()
    crops: int = 0
    tokens: int = 0


def ballots(
    benchmark: Benchmark,
    records: Sequence[Record],
    spaces: Sequence[BoxSpace],
    asked: Sequence[Mapping[str, Any]],
    judge: Judge,
) -> list[Ballot]:
    """The records' answers, read and judged; `asked` is as `openo3.benchmarks.asking.ask_all` gives it.

    `spaces` are those of the boxes in the completions. The judge is asked once about equal answers.
    """
    kind, judge = votable(benchmark).question, _Once(judge)
    texts = [tuple(each["completions"].get(kind, ())) for each in asked]
    filled = [
        benchmark.result(record, {kind: text} if text else {}, space)
        for record, space, own in zip(records, spaces, texts, strict=True)
        for text in (*own, "")
    ]
    judged = benchmark.rate(filled, judge)
    rows = iter(zip(judged, correct(benchmark, judged), strict=True))
    found = []
    for record, space, each, own in zip(records, spaces, asked, texts, strict=True):
        *answered, (unanswered, _) = [next(rows) for _ in (*own, "")]
        results, scores = zip(*answered, strict=True) if answered else ((), ())
        prompt = each["prompts"].get(kind, "")
        found.append(Ballot(record, space, prompt, own, results, scores, (), unanswered))
    groups = _groups(benchmark, [ballot.results for ballot in found], judge)
    return [replace(ballot, groups=own) for ballot, own in zip(found, groups, strict=True)]


def counted(
    benchmark: Benchmark, cast: Sequence[Ballot], relevance: Sequence[Relevance] | None = None
) -> tuple[list[Record], list[dict[str, Any]]]:
    """Results of all records, and one line with all its samples for each question that was asked.

    A result is the record with the winning answer, its `confidence`, and as `single` the share of its answers
    that are right: what one of them scores on average. With `relevance` the answers are weighted.
    """
    kind, results, lines = votable(benchmark).question, [], []
    for index, ballot in enumerate(cast):
        ratings = relevance[index].ratings if relevance else ()
        weights = [voting.weight(rating) for rating in ratings] or [1.0] * len(ballot.groups)
        won = voting.elect(ballot.groups, weights)
        result, completion = ballot.unanswered, ""
        if won.winner is not None:
            result, completion = ballot.results[won.winner], ballot.completions[won.winner]
        single = fmean(ballot.scores) if ballot.scores else 0.0
        results.append({**result, "confidence": won.confidence, "single": single})
        if ballot.completions:
            columns = {
                "completion": ballot.completions,
                "group": ballot.groups,
                "weight": weights,
                **({"relevance": ratings} if ratings else {}),
            }
            samples = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            asked = prediction(index, ballot.record, kind, ballot.prompt, completion, ballot.space)
            lines.append({**asked, "confidence": won.confidence, "samples": samples})
    return results, lines


def score(
    benchmark: Benchmark,
    results: Results,
    cast: Sequence[Ballot],
    cost: Mapping[str, int],
    relevance: Sequence[Relevance] | None = None,
) -> dict[str, Any]:
    """The benchmark's metric of the winning answers, that of a `single` sample and the `area` under selective
    accuracy, with intervals; the `cost` per record. Of the answers whose evidence was rated, `ratings` has
    for each rating their `share` and how many of them are `right`, None if there are none."""
    right = correct(benchmark, results)
    videos = benchmark.scoring.videos(results)
    pairs = [[a, b] for a, b in zip(right, singles(results), strict=True)]
    voted, single = bootstrap(pairs, videos=videos)
    area = selective.area(confidences(results), right, videos)
    found = {votable(benchmark).metric: voted, "single": single, "area": area}
    block = with_intervals(found, len(results))
    if relevance is not None:
        scores: dict[str, list[float]] = {name: [] for name in (*map(str, voting.WEIGHTS), NO_EVIDENCE)}
        for ballot, each in zip(cast, relevance, strict=True):
            for rating, own in zip(each.ratings, ballot.scores, strict=bool(each.ratings)):
                scores[NO_EVIDENCE if rating is None else str(rating)].append(own)
        total = sum(map(len, scores.values()))
        block["ratings"] = {
            name: {"share": len(own) / max(1, total), "right": fmean(own) if own else None}
            for name, own in scores.items()
        }
        cost = {
            **cost,
            "completions_rated": total - len(scores[NO_EVIDENCE]),
            "crops": sum(each.crops for each in relevance),
            "crop_tokens": sum(each.tokens for each in relevance),
        }
    return block | {"cost": {name: total / len(results) for name, total in cost.items()}}


def votable(benchmark: Benchmark) -> Votable:
    """The benchmark's question that can be voted on. Raises `ValueError` if it has none."""
    if benchmark.votable is None:
        raise ValueError(f"{benchmark.name}: none of its questions has choices or a short answer")
    return benchmark.votable


def correct(benchmark: Benchmark, results: Results) -> list[float]:
    """For each record, 0-1, whether the answer that can be voted on is right, whatever the condition."""
    metric = votable(benchmark).metric
    return [scores[metric] for scores in benchmark.scoring.records(results)]


def singles(results: Results) -> list[float]:
    """For each record, what one of its samples scores on average."""
    return [record["single"] for record in results]


def confidences(results: Results) -> list[float]:
    """For each record, the winning answer's share of all weight."""
    return [record["confidence"] for record in results]


class _Once:
    """A judge that is asked once about equal items."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def rate(self, items: Sequence[Item]) -> list[int]:
        distinct = list(dict.fromkeys(items))
        ratings = dict(zip(distinct, self.judge.rate(distinct) if distinct else (), strict=True))
        return [ratings[item] for item in items]

    def choose(self, items: Sequence[Unclear]) -> list[str]:
        distinct = list(dict.fromkeys((question, tuple(options), said) for question, options, said in items))
        letters = dict(zip(distinct, self.judge.choose(distinct) if distinct else (), strict=True))
        return [letters[question, tuple(options), said] for question, options, said in items]


def _groups(benchmark: Benchmark, results: Sequence[Results], judge: Judge) -> list[tuple[int | None, ...]]:
    """By record, which answers say the same: the same letter where the record has options, else by the judge.

    The judge rates each pair of different texts, of all records at once.
    """
    said = [[record[votable(benchmark).answer] or "" for record in own] for own in results]
    pairs = [
        (own[0]["question"], first, second)
        for own, texts in zip(results, said, strict=True)
        if own and not own[0].get("options")
        for first, second in combinations(dict.fromkeys(filter(None, texts)), 2)
    ]
    same = {pair for pair, rating in zip(pairs, judge.rate(pairs), strict=True) if rating == SAME}
    return [
        tuple(voting.grouped(texts, partial(_same, same, own[0]["question"] if own else "")))
        for own, texts in zip(results, said, strict=True)
    ]


def _same(same: Container[Item], question: str, first: str, second: str) -> bool:
    return first == second or (question, first, second) in same
