"""Test-time scaling on a benchmark: several sampled answers to a question, joined into one.

    poll = Poll(benchmark, records, ...)
    results, lines, metrics = poll.vote("majority")

The frames of a question are encoded once for all its answers, and both ways to vote use the same answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from openo3.benchmarks.asking import ask_all, box_space, in_batches, line
from openo3.benchmarks.base import Benchmark, Record, Results, Votable, frames_of
from openo3.benchmarks.conditions import Vote
from openo3.benchmarks.judges import SAME, Item, Judge
from openo3.configuration import Positive
from openo3.core import selective, voting
from openo3.core.evidence import parse_completion
from openo3.core.geometry import BoxSpace
from openo3.core.metrics import bootstrap, with_intervals
from openo3.core.prompts import without_instruction
from openo3.core.voting import Votes
from openo3.media.frame_store import FrameStore
from openo3.model.decoding import Sampling
from openo3.model.engine import Engine
from openo3.model.relevance import RATINGS, Evidence, evidence, rate

NO_EVIDENCE = "none"
"""In the shares of ratings: answers without usable evidence."""


@dataclass(frozen=True)
class VoteParams(Votes):
    """The samples of the conditions that vote, for the first `max_records` records of each benchmark."""

    max_records: Positive | None = None


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
    results: tuple[Record, ...]
    scores: tuple[float, ...]
    groups: tuple[int | None, ...]
    unanswered: Record

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


@dataclass(frozen=True)
class Poll:
    """A model's sampled answers to the votable question of a benchmark's records.

    Answers are kept batch by batch in the folder `kept`, as in `openo3.benchmarks.asking.answer`, and not
    asked for again. The model is asked when the first vote is counted.
    """

    benchmark: Benchmark
    records: Sequence[Record]
    store: FrameStore
    engine: Engine
    judge: Judge
    votes: Votes
    max_new_tokens: int
    seed: int
    kept: Path
    records_per_batch: int
    progress: str

    def vote(self, way: Vote) -> tuple[list[Record], list[dict[str, Any]], dict[str, Any]]:
        """Results of all records, a line per question, and the metrics: see `counted` and `score`."""
        relevance = self.relevance if way == "relevance" else None
        results, lines = counted(self.benchmark, self.ballots, relevance)
        written = [self._length(text) for ballot in self.ballots for text in ballot.completions]
        cost = {"completions": len(written), "tokens_written": sum(written)}
        return results, lines, score(self.benchmark, results, cost, relevance)

    @cached_property
    def ballots(self) -> list[Ballot]:
        """The answers, judged."""
        asked = ask_all(
            self.benchmark, self.records, self.store, self.engine,
            Sampling(self.max_new_tokens, self.votes.temperature, self.votes.top_p, self.votes.n, self.seed),
            only=votable(self.benchmark).question,
            kept=self.kept / f"{self.benchmark.name}.samples.jsonl",
            records_per_batch=self.records_per_batch,
            progress=f"{self.progress}, {self.votes.n} samples",
        )  # fmt: skip
        spaces = [box_space(self.engine, self.store, record) for record in self.records]
        return ballots(
            self.benchmark, self.records, spaces, [asked[n] for n in range(len(asked))], self.judge
        )

    @cached_property
    def relevance(self) -> list[Relevance]:
        """How the model rates the evidence of the answers, of records whose answers are not unanimous."""
        found = in_batches(
            self._rated,
            len(self.ballots),
            self.kept / f"{self.benchmark.name}.relevance.jsonl",
            self.records_per_batch,
            f"{self.progress}, evidence of the samples",
        )
        return [
            Relevance(tuple(found[n]["ratings"]), found[n]["crops"], found[n]["tokens"])
            for n in range(len(found))
        ]

    def _rated(self, batch: range) -> list[dict[str, Any]]:
        cited = [self._evidence(self.ballots[index]) for index in batch]
        ratings = iter(rate(self.engine, [each for own in cited for each in own]))
        return [
            {
                "record": index,
                "ratings": [next(ratings) for _ in own],
                "crops": sum(len(each.crops) for each in own if each.usable),
                "tokens": sum(self.engine.encoder.length(each.prompt) for each in own if each.usable),
            }
            for index, own in zip(batch, cited, strict=True)
        ]

    def _evidence(self, ballot: Ballot) -> list[Evidence]:
        if ballot.unanimous or not ballot.completions:
            return []
        media = frames_of(ballot.record)
        frames, duration_s = self.store.frames(media), self.store.duration_s(media)
        question, side = without_instruction(ballot.prompt), self.engine.encoder.side_multiple
        return [
            evidence(question, parse_completion(text, ballot.space), frames, duration_s, side)
            for text in ballot.completions
        ]

    def _length(self, completion: str) -> int:
        return len(self.engine.encoder.target(completion))


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
            asked = line(index, ballot.record, kind, ballot.prompt, completion, ballot.space)
            lines.append({**asked, "confidence": won.confidence, "samples": samples})
    return results, lines


def score(
    benchmark: Benchmark,
    results: Results,
    cost: Mapping[str, int],
    relevance: Sequence[Relevance] | None = None,
) -> dict[str, Any]:
    """The benchmark's metric of the winning answers, that of a `single` sample and the `area` under selective
    accuracy, with intervals; the `cost` per record; and the shares of `ratings` among the answers rated."""
    right = correct(benchmark, results)
    voted, single = bootstrap([[a, b] for a, b in zip(right, singles(results), strict=True)])
    area = selective.area(confidences(results), right)
    found = {votable(benchmark).metric: voted, "single": single, "area": area}
    block = with_intervals(found, len(results))
    if relevance is not None:
        ratings = [rating for each in relevance for rating in each.ratings]
        counts = Counter(NO_EVIDENCE if rating is None else str(rating) for rating in ratings)
        block["ratings"] = {name: counts[name] / max(1, len(ratings)) for name in (*RATINGS, NO_EVIDENCE)}
        cost = {
            **cost,
            "completions_rated": sum(rating is not None for rating in ratings),
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
