"""What a vote takes, as a multiple of the time of one sampled answer to the same questions.

    python -m bench.voting                      # data/models/gspo, V-STaR, the first 32 records
    python -m bench.voting --benchmark videomme --model data/models/sft --records 8

The samples are asked for as the stage `evaluate` does it, with the parameters of `params.yaml`. Loading and a
first question are left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from openo3.benchmarks import judges, registry
from openo3.benchmarks.conditions import CONDITIONS
from openo3.benchmarks.voting import Poll
from openo3.configuration import read_block
from openo3.media.frame_store import FrameStore
from openo3.model.decoding import Sampling
from stages.evaluate import BENCH, FRAMES, Params, load_engine, sampling_of
from stages.prompts import load_prompts


def main() -> None:
    parser = argparse.ArgumentParser(description="What a vote takes, as a multiple of one answer.")
    parser.add_argument("--model", type=Path, default=Path("data/models/gspo"))
    parser.add_argument("--benchmark", default="vstar")
    parser.add_argument("--records", type=int, default=32)
    arguments = parser.parse_args()
    params = read_block("params.yaml", "evaluate", Params)
    _, prompts = load_prompts()
    work = tempfile.TemporaryDirectory()  # removed at the end of the process
    engine = load_engine(arguments.model, params, prompts, Path(work.name))
    benchmark = registry.get(arguments.benchmark)
    records = benchmark.load(BENCH / f"{benchmark.name}.json")[: arguments.records]
    store, judge = FrameStore.open(FRAMES / benchmark.name), judges.load(params.judge, prompts)

    def seconds(sampling: Sampling, count: int) -> tuple[float, float]:
        """Of the samples about `count` records, and of rating their evidence."""
        with tempfile.TemporaryDirectory() as folder:
            poll = Poll(
                benchmark, records[:count], store, engine, judge, prompts, sampling,
                Path(folder), params.records_per_batch, f"{sampling.n} samples",
            )  # fmt: skip
            marks = [time.perf_counter()]
            for way in ("majority", "relevance"):  # the second adds the ratings
                poll.vote(way)
                marks.append(time.perf_counter())
        return marks[1] - marks[0], marks[2] - marks[1]

    several = sampling_of(CONDITIONS["voted"], params)
    single, n = replace(several, n=1), several.n
    seconds(single, 1)
    single_s, _ = seconds(single, len(records))
    samples_s, ratings_s = seconds(several, len(records))
    print(f"| {len(records)} records of {benchmark.title} | times one sampled answer |\n| --- | --- |")
    print(f"| majority of {n} | {samples_s / single_s:.2g} |")
    print(f"| {n} weighted by their evidence | {(samples_s + ratings_s) / single_s:.2g} |")


if __name__ == "__main__":
    main()
