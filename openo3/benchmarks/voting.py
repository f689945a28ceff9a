"""Test-time scaling on a benchmark: several sampled answers to a question, joined into one.

    poll = Poll(benchmark, records, ...)
    results, lines, metrics = poll.vote("majority")

The frames of a question are encoded once for all its answers, and both ways to vote use the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from openo3.benchmarks.asking import ask_all, box_space, in_batches
from openo3.benchmarks.ballots import Ballot, Relevance, ballots, counted, score, votable
from openo3.benchmarks.base import Benchmark, Record, frames_of
from openo3.benchmarks.conditions import Vote
from openo3.benchmarks.judges import Judge
from openo3.configuration import Positive
from openo3.core.evidence import parse_completion
from openo3.core.prompts import Prompts
from openo3.core.voting import Votes
from openo3.media.frame_store import FrameStore
from openo3.model.decoding import Sampling
from openo3.model.engine import Engine
from openo3.model.relevance import Evidence, evidence, rate


@dataclass(frozen=True)
class VoteParams(Votes):
    """The samples of the conditions that vote, for the first `max_records` records of each benchmark."""

    max_records: Positive | None = None


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
    prompts: Prompts
    sampling: Sampling
    kept: Path
    records_per_batch: int
    progress: str

    def vote(self, way: Vote) -> tuple[list[Record], list[dict[str, Any]], dict[str, Any]]:
        """Results of all records, a line per question, and the metrics: see `counted` and `score`."""
        relevance = self.relevance if way == "relevance" else None
        results, lines = counted(self.benchmark, self.ballots, relevance)
        written = [self._length(text) for ballot in self.ballots for text in ballot.completions]
        cost = {"completions": len(written), "tokens_written": sum(written)}
        return results, lines, score(self.benchmark, results, self.ballots, cost, relevance)

    @cached_property
    def ballots(self) -> list[Ballot]:
        """The answers, judged."""
        asked = ask_all(
            self.benchmark, self.records, self.store, self.engine,
            self.sampling, prompts=self.prompts, only=votable(self.benchmark).question,
            kept=self.kept / f"{self.benchmark.name}.samples.jsonl",
            records_per_batch=self.records_per_batch,
            progress=f"{self.progress}, {self.sampling.n} samples",
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
        encoder = self.engine.encoder
        cited = [self._evidence(self.ballots[index]) for index in batch]
        ratings = iter(rate(self.engine, [each for own in cited for each in own]))
        return [
            {
                "record": index,
                "ratings": [next(ratings) for _ in own],
                "crops": sum(len(each.crops) for each in own if each.usable),
                "tokens": sum(encoder.length(each.prompt(encoder.prompts)) for each in own if each.usable),
            }
            for index, own in zip(batch, cited, strict=True)
        ]

    def _evidence(self, ballot: Ballot) -> list[Evidence]:
        if ballot.unanimous or not ballot.completions:
            return []
        media = frames_of(ballot.record)
        frames, duration_s = self.store.frames(media), self.store.duration_s(media)
        plain = self.benchmark.questions(ballot.record, ballot.space, self.prompts.plainly())
        question, side = plain[votable(self.benchmark).question], self.engine.encoder.side_multiple
        return [
            evidence(question, parse_completion(text, ballot.space), frames, duration_s, side)
            for text in ballot.completions
        ]

    def _length(self, completion: str) -> int:
        return len(self.engine.encoder.target(completion))
