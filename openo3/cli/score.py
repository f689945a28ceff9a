"""`openo3 score BENCHMARK RESULTS`: all numbers of a results file as one JSON object.

    openo3 score NAME results.jsonl --per-record

The file is a JSON list, or JSON Lines, of the benchmark's records, each with the model's raw completions:

    {"vid": "v1", "question": "What falls?", ..., "completions": {"what": "<think>...", "when": "..."},
     "box_space": {"kind": "pixels", "size": [640, 360]}}

`box_space` says how the model writes boxes, by default in thousandths of the frame. Media are not needed.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from openo3.cli.errors import refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("benchmark", type=_benchmark, metavar="BENCHMARK", help="its name in the registry")
    parser.add_argument("results", metavar="RESULTS", help="records with completions; - reads standard input")
    parser.add_argument("--per-record", action="store_true", help="add the scores of each record")
    parser.add_argument("--judge-url", default="", help="OpenAI-compatible endpoint of a judge, up to /v1")
    parser.add_argument("--judge-model", default="", help="model that the endpoint serves")


def _benchmark(name: str) -> Any:
    from openo3.benchmarks.registry import get

    try:
        return get(name)
    except KeyError as error:
        raise argparse.ArgumentTypeError(error.args[0]) from None


def run(arguments: argparse.Namespace) -> int:
    """Print the numbers and their `protocol`; with `--per-record` also `records`, each with its `id`, its
    `video` and scores."""
    from openo3.benchmarks import judges, protocol
    from openo3.cli.command_input import read_results
    from openo3.prompt_file import default_prompts

    benchmark = arguments.benchmark
    kind = "served" if arguments.judge_url or arguments.judge_model else "rouge"
    params = judges.JudgeParams(kind, arguments.judge_url, arguments.judge_model)
    try:
        judge = judges.load(params, default_prompts())
        results = read_results(arguments.results, benchmark)
    except ValueError as error:  # the judge's, or an InputError
        return refuse(error)
    try:
        ratings = judges.Ratings(judge)
        results = benchmark.rate(results, ratings)
    except ConnectionError as error:
        return refuse(error, status=1)
    numbers = benchmark.report(results)
    numbers["protocol"] = protocol.of_records(benchmark, results) | protocol.of_answers(
        benchmark, results, params, ratings
    )
    if arguments.per_record:
        scores = benchmark.scoring.records(results)
        numbers["records"] = [
            {"id": record.get(benchmark.id_field or benchmark.media_field), "video": video, **own}
            for record, video, own in zip(results, benchmark.scoring.videos(results), scores, strict=True)
        ]
    print(json.dumps(numbers, indent=2, allow_nan=False))
    return 0
