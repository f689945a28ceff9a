"""Stage `evaluate`: a model + benchmarks -> predictions and metrics with intervals.

python -m stages.evaluate gspo
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from openo3.benchmarks import conditions, judges, protocol, registry
from openo3.benchmarks.asking import answer, blank
from openo3.benchmarks.base import Benchmark, Record, Results
from openo3.benchmarks.conditions import CONDITIONS, Condition
from openo3.benchmarks.voting import Poll, VoteParams
from openo3.configuration import Positive, Seed, within
from openo3.core.prompts import Prompts
from openo3.files.artifacts import atomic_directory, read_json, write_json, write_jsonl
from openo3.media.frame_store import FrameStore
from openo3.model.batch_size import TokensPerBatch, TooLargeError
from openo3.model.decoding import Sampling
from openo3.model.engine import Engine, LocalEngine
from openo3.model.load import POINTER, device
from openo3.model.vllm_engine import VLLMEngine
from openo3.training.workspace import MANIFEST, workspace
from stages.params import load_params, settings_of, wrong
from stages.prompts import load_prompts

BENCH, FRAMES = Path("data/validated/bench"), Path("data/frames")


@dataclass(frozen=True)
class Params:
    """`decodings` by benchmark: names of `openo3.benchmarks.conditions`. With `vllm`, settings of `vllm.LLM`
    under its own names, vLLM answers; else transformers, up to `tokens_per_batch` prompt tokens at once;
    "auto" is as many tokens, of prompts and of answers to come, as the free memory holds.
    `except_for` by model: the conditions in which that checkpoint is not asked. `votes` are the samples that
    the conditions `voted` and `confident` join. `repetition_penalty`: see `openo3.model.decoding.Sampling`;
    1 is off.
    """

    decodings: dict[str, list[conditions.Name]]
    max_new_tokens: Positive
    max_records: Positive | None = None
    records_per_batch: Positive = 32
    tokens_per_batch: TokensPerBatch = 6144
    vllm: dict[str, Any] | None = None
    seed: Seed = 0
    except_for: dict[str, list[conditions.Name]] = field(default_factory=dict)
    votes: VoteParams = field(default_factory=VoteParams)
    judge: judges.JudgeParams = field(default_factory=judges.JudgeParams)
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        within("repetition_penalty", self.repetition_penalty, above=0)


class Outcome(NamedTuple):
    """What a condition gave: the `records` that were asked, their `results`, a line for each question, the
    metrics, and how the answers were decoded and rated."""

    records: Sequence[Record]
    results: Results
    lines: list[dict[str, Any]]
    numbers: dict[str, Any]
    sampling: Sampling
    ratings: judges.Ratings


@dataclass(frozen=True)
class Evaluation:
    """One benchmark's records, asked of one model. Answers are kept in the folder `work` batch by batch."""

    name: str
    params: Params
    benchmark: Benchmark
    records: Sequence[Record]
    store: FrameStore
    engine: Engine
    judge: judges.Judge
    prompts: Prompts
    work: Path

    @property
    def title(self) -> str:
        return f"{self.name}, {self.benchmark.name}"

    def ask(self, condition: Condition) -> Outcome:
        return self._by_votes(condition.vote) if condition.vote else self._by_answers(condition)

    def _by_answers(self, condition: Condition) -> Outcome:
        sampling, ratings = sampling_of(condition, self.params), judges.Ratings(self.judge)
        results, lines = answer(
            self.benchmark, self.records, self.store, self.engine, sampling,
            prompts=self.prompts.plainly() if condition.bare else self.prompts,
            see=blank if condition.blank else tuple,
            kept=self.work / f"{self.benchmark.name}.{condition.name}.jsonl",
            records_per_batch=self.params.records_per_batch,
            progress=f"{self.title}, {condition.name}",
        )  # fmt: skip
        results = self.benchmark.rate(results, ratings)
        return Outcome(self.records, results, lines, self.benchmark.score(results), sampling, ratings)

    def _by_votes(self, way: conditions.Vote) -> Outcome:
        poll, ratings = self._poll
        return Outcome(poll.records, *poll.vote(way), poll.sampling, ratings)

    @cached_property
    def _poll(self) -> tuple[Poll, judges.Ratings]:
        """The samples that all conditions with votes share."""
        params, ratings = self.params, judges.Ratings(self.judge)
        poll = Poll(
            self.benchmark, self.records[: params.votes.max_records], self.store, self.engine, ratings,
            self.prompts, sampling_of(CONDITIONS["voted"], params), self.work, params.records_per_batch,
            self.title,
        )  # fmt: skip
        return poll, ratings


def main() -> None:
    name = sys.argv[1]
    params = load_params("evaluate", Params)
    templates, prompts = load_prompts()
    known, judge = check(params, prompts)
    model, out = Path(f"data/models/{name}"), Path(f"data/predictions/{name}")
    stores = [FRAMES / bench for bench in params.decodings]
    made_by = asdict(params) | {"device": device() if params.vllm is None else "cuda"}
    work = workspace(f"evaluate-{name}", [model, BENCH, *stores, templates], made_by, code="evaluate")
    engine = load_engine(model, params, prompts, work)
    for bench in sorted({path.stem for path in BENCH.glob("*.json")} - set(params.decodings)):
        print(f"evaluate: {bench} is not in evaluate.decodings, left out")
    asked = model_protocol(name, model, work)
    metrics: dict[str, Any] = {}
    protocols: dict[str, Any] = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(out) as folder:
        for bench, benchmark in known.items():
            records = load_records(benchmark, params)
            if not records:
                continue
            store = FrameStore.open(FRAMES / bench)
            evaluation = Evaluation(name, params, benchmark, records, store, engine, judge, prompts, work)
            (folder / bench).mkdir()
            left_out = params.except_for.get(name, ())
            for condition in (CONDITIONS[each] for each in params.decodings[bench] if each not in left_out):
                try:
                    found = evaluation.ask(condition)
                except TooLargeError as error:
                    wrong(f"evaluate: {evaluation.title}, {condition.name}: {error}")
                protocols.setdefault(bench, {})[condition.name] = (
                    protocol.of_records(benchmark, found.records, store, BENCH)
                    | protocol.of_condition(condition, found.records, store, prompts, found.sampling)
                    | protocol.of_answers(benchmark, found.results, params.judge, found.ratings)
                    | asked
                    | protocol.of_engine(engine.facts)
                )
                metrics.setdefault(bench, {})[condition.name] = found.numbers
                write_jsonl(folder / bench / f"{condition.name}.jsonl", found.lines)
                write_json(folder / bench / f"{condition.name}.results.json", found.results)
    metrics_file = Path(f"metrics/evaluate/{name}.json")
    metrics_file.parent.mkdir(parents=True, exist_ok=True)
    write_json(metrics_file, metrics)
    write_json(protocol.beside(metrics_file), protocols)
    shutil.rmtree(work, ignore_errors=True)


def check(params: Params, prompts: Prompts) -> tuple[dict[str, Benchmark], judges.Judge]:
    """The benchmarks and the judge. Raises `SystemExit(2)` after one line if there is no such one."""
    with settings_of("evaluate.judge"):
        judge = judges.load(params.judge, prompts)
    return benchmarks_of(params), judge


def benchmarks_of(params: Params) -> dict[str, Benchmark]:
    """The benchmarks to ask, in the order of the parameters.

    Raises `SystemExit(2)` after one line for an unknown one, and for a vote on one without short answers.
    """
    try:
        known = {bench: registry.get(bench) for bench in params.decodings}
    except KeyError as error:
        wrong(f"params.yaml: evaluate.decodings: {error.args[0]}")
    for bench, decodings in params.decodings.items():
        votes = [decoding for decoding in decodings if CONDITIONS[decoding].vote]
        if votes and not known[bench].votable:
            wrong(f"params.yaml: evaluate.decodings.{bench}: {votes[0]} needs questions with short answers")
    return known


def load_records(benchmark: Benchmark, params: Params) -> Sequence[Record]:
    """The benchmark's validated records; none, and a line that says so, where it is left out."""
    path = BENCH / f"{benchmark.name}.json"
    if not path.exists():
        print(f"evaluate: no {benchmark.name} among the validated benchmarks, left out")
        return []
    records = benchmark.load(path)[: params.max_records]
    if not records:
        print(f"evaluate: no record of {benchmark.name} is usable, left out")
    return records


def sampling_of(condition: Condition, params: Params) -> Sampling:
    """How answers are decoded in a condition; alike in all conditions that vote."""
    votes = params.votes
    how = (votes.temperature, votes.top_p, votes.n) if condition.vote else (condition.temperature, 1.0, 1)
    return Sampling(params.max_new_tokens, *how, params.seed, params.repetition_penalty)


def model_protocol(name: str, model: Path, work: Path) -> protocol.Protocol:
    """The model by the digests of its files, which the workspace knows."""
    made_of = read_json(work / MANIFEST)
    files = {
        str(Path(file).relative_to(model)): digest
        for file, digest in made_of.items()
        if Path(file).is_relative_to(model)
    }
    pointer = model / POINTER
    return protocol.of_model(name, files, read_json(pointer) if pointer.is_file() else None)


def load_engine(model: Path, params: Params, prompts: Prompts, work: Path) -> Engine:
    """The engine; a resumed run decodes as many tokens at once as the interrupted one had found to fit."""
    if params.vllm is None:
        engine = LocalEngine.load(model, params.tokens_per_batch, prompts)
        found = work / "tokens_per_batch.json"
        if found.is_file():
            engine.set_tokens_per_batch(read_json(found))

        def remember(tokens: int) -> None:
            write_json(found, tokens)
            print(f"evaluate: decodes up to {tokens:,} tokens at once", flush=True)

        engine.remember = remember
        return engine
    if find_spec("vllm") is None:
        wrong("params.yaml: evaluate.vllm: not installed here, make install LOCK=requirements-gpu.lock")
    with settings_of("evaluate.vllm"):
        return VLLMEngine.load(model, params.vllm, prompts)


if __name__ == "__main__":
    main()
