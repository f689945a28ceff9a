"""`openo3 score BENCHMARK`: all numbers of a results file as one JSON object."""

from __future__ import annotations

import argparse
import json

from openo3.cli.errors import refuse

HELP = "score the results of a benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    benchmarks = parser.add_subparsers(required=True, metavar="BENCHMARK")
    vstar = benchmarks.add_parser("vstar", help="V-STaR: what, when and where, in two chains")
    vstar.add_argument("results", metavar="RESULTS.json", help="records with answers; - reads standard input")
    vstar.add_argument("--judge-url", default="", help="OpenAI-compatible endpoint of a judge, up to /v1")
    vstar.add_argument("--judge-model", default="", help="model that the endpoint serves")


def run(arguments: argparse.Namespace) -> int:
    """Print `overall`, `length/...` and `domain/...`."""
    from openo3.benchmarks import judges
    from openo3.benchmarks.vstar_scores import rate, report
    from openo3.cli.command_input import read_vstar_results

    kind = "served" if arguments.judge_url or arguments.judge_model else "rouge"
    try:
        judge = judges.load(judges.JudgeParams(kind, arguments.judge_url, arguments.judge_model))
        results = read_vstar_results(arguments.results)
    except ValueError as error:  # the judge's, or an InputError
        return refuse(error)
    try:
        numbers = report(rate(results, judge))
    except ConnectionError as error:
        return refuse(error, status=1)
    print(json.dumps(numbers, indent=2, allow_nan=False))
    return 0
