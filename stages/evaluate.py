"""Stage `evaluate`: a model + benchmarks -> predictions and metrics with intervals.

python -m stages.evaluate gspo
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from openo3.benchmarks import conditions, judges, protocol, registry
from openo3.benchmarks.asking import answer, blank
from openo3.benchmarks.conditions import CONDITIONS
from openo3.benchmarks.voting import Poll, VoteParams
from openo3.configuration import Positive, within
from openo3.core.prompts import Prompts
from openo3.files.artifacts import atomic_directory, read_json, write_json, write_jsonl
from openo3.media.frame_store import FrameStore
from openo3.model.decoding import Sampling
from openo3.model.engine import Engine, LocalEngine
from openo3.model.load import POINTER
from openo3.model.vllm_engine import VLLMEngine
from openo3.training.workspace import MANIFEST, workspace
from stages.params import load_params, settings_of, wrong
from stages.prompts import load_prompts

BENCH, FRAMES = Path("data/validated/bench"), Path("data/frames")


@dataclass(frozen=True)
class Params:
    """`decodings` by benchmark: names of `openo3.benchmarks.conditions`. With `vllm`, settings of `vllm.LLM`
    under its own names, vLLM answers; else transformers, up to `tokens_per_batch` prompt tokens at once.
    `except_for` by model: the conditions in which that checkpoint is not asked. `votes` are the samples that
    the conditions `voted` and `confident` join. `repetition_penalty`: see `openo3.model.decoding.Sampling`;
    1 is off.
    """

    decodings: dict[str, list[conditions.Name]]
    max_new_tokens: Positive
    max_records: Positive | None = None
    records_per_batch: Positive = 32
    tokens_per_batch: Positive = 6144
    vllm: dict[str, Any] | None = None
    seed: int = 0
    except_for: dict[str, list[conditions.Name]] = field(default_factory=dict)
    votes: VoteParams = field(default_factory=VoteParams)
    judge: judges.JudgeParams = field(default_factory=judges.JudgeParams)
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        within("repetition_penalty", self.repetition_penalty, above=0)


def main() -> None:
    name = sys.argv[1]
    params = load_params("evaluate", Params)
    templates, prompts = load_prompts()
    try:
        known = {bench: registry.get(bench) for bench in params.decodings}
    except KeyError as error:
        wrong(f"params.yaml: evaluate.decodings: {error.args[0]}")
    for bench, decodings in params.decodings.items():
        votes = [decoding for decoding in decodings if CONDITIONS[decoding].vote]
        if votes and not known[bench].votable:
            wrong(f"params.yaml: evaluate.decodings.{bench}: {votes[0]} needs questions with short answers")
    model, out = Path(f"data/models/{name}"), Path(f"data/predictions/{name}")
    stores = [FRAMES / bench / "index.json" for bench in params.decodings]
    work = workspace(f"evaluate-{name}", [model, BENCH, *stores, templates], asdict(params), code="evaluate")
    engine = load_engine(model, params, prompts)
    with settings_of("evaluate.judge"):
        judge = judges.load(params.judge, prompts)
    for bench in sorted({path.stem for path in BENCH.glob("*.json")} - set(params.decodings)):
        print(f"evaluate: {bench} is not in evaluate.decodings, left out")
    made_by = model_protocol(name, model, work) | protocol.of_engine(engine.facts)
    metrics: dict[str, Any] = {}
    protocols: dict[str, Any] = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(out) as folder:
        for bench, decodings in params.decodings.items():
            if not (BENCH / f"{bench}.json").exists():
                print(f"evaluate: no {bench} among the validated benchmarks, left out")
                continue
            benchmark, store = known[bench], FrameStore.open(FRAMES / bench)
            records = benchmark.load(BENCH / f"{bench}.json")[: params.max_records]
            if not records:
                print(f"evaluate: no record of {bench} is usable, left out")
                continue
            (folder / bench).mkdir()
            asked = [decoding for decoding in decodings if decoding not in params.except_for.get(name, ())]
            poll, voted = None, judges.Ratings(judge)
            for condition in map(CONDITIONS.__getitem__, asked):
                chosen = records[: params.votes.max_records] if condition.vote else records
                sampling = sampling_of(condition, params)
                asking = prompts.plainly() if condition.bare else prompts
                if condition.vote:
                    poll = poll or Poll(
                        benchmark, chosen, store, engine, voted, asking, sampling, work,
                        params.records_per_batch, f"{name}, {bench}",
                    )  # fmt: skip
                    ratings = voted
                    results, lines, numbers = poll.vote(condition.vote)
                else:
                    ratings = judges.Ratings(judge)
                    results, lines = answer(
                        benchmark, chosen, store, engine, sampling,
                        prompts=asking,
                        see=blank if condition.blank else tuple,
                        kept=work / f"{bench}.{condition.name}.jsonl",
                        records_per_batch=params.records_per_batch,
                        progress=f"{name}, {bench}, {condition.name}",
                    )  # fmt: skip
                    results = benchmark.rate(results, ratings)
                    numbers = benchmark.score(results)
                protocols.setdefault(bench, {})[condition.name] = (
                    protocol.of_records(benchmark, chosen, store, BENCH)
                    | protocol.of_condition(condition, chosen, store, prompts, sampling)
                    | protocol.of_answers(benchmark, results, params.judge, ratings)
                    | made_by
                )
                metrics.setdefault(bench, {})[condition.name] = numbers
                write_jsonl(folder / bench / f"{condition.name}.jsonl", lines)
                write_json(folder / bench / f"{condition.name}.results.json", results)
    metrics_file = Path(f"metrics/evaluate/{name}.json")
    metrics_file.parent.mkdir(parents=True, exist_ok=True)
    write_json(metrics_file, metrics)
    write_json(protocol.beside(metrics_file), protocols)
    shutil.rmtree(work, ignore_errors=True)


def sampling_of(condition: conditions.Condition, params: Params) -> Sampling:
    """How answers are decoded in a condition."""
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


def load_engine(model: Path, params: Params, prompts: Prompts) -> Engine:
    if params.vllm is None:
        return LocalEngine.load(model, params.tokens_per_batch, prompts)
    if find_spec("vllm") is None:
        wrong("params.yaml: evaluate.vllm: not installed here, make install LOCK=requirements-gpu.lock")
    with settings_of("evaluate.vllm"):
        return VLLMEngine.load(model, params.vllm, prompts)


if __name__ == "__main__":
    main()
