"""The command `openo3`: rewards of rows, scores of results, what the data lacks, and what this machine lacks.

Bad input ends a command with one line on standard error and exit status 2, before anything is printed.
Heavy modules are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="openo3", description="Grounded video reasoning: rewards, scores, and a check-up.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    rewards = commands.add_parser("rewards", help="score completions with the seven rewards")
    rewards.add_argument("rows", metavar="ROWS.jsonl", help="one row a line; - reads standard input")
    rewards.add_argument("--gate", choices=("symmetric", "released"), default="symmetric")
    rewards.add_argument("--box-space", choices=("pixels", "permille"), default="pixels")
    rewards.set_defaults(run=_rewards)

    score = commands.add_parser("score", help="score the results of a benchmark")
    benchmarks = score.add_subparsers(required=True, metavar="BENCHMARK")
    vstar = benchmarks.add_parser("vstar", help="V-STaR: what, when and where, in two chains")
    vstar.add_argument("results", metavar="RESULTS.json", help="records with answers; - reads standard input")
    vstar.add_argument("--judge-url", default="", help="OpenAI-compatible endpoint of a judge, up to /v1")
    vstar.add_argument("--judge-model", default="", help="model that the endpoint serves")
    vstar.set_defaults(run=_score_vstar)

    coverage = commands.add_parser("coverage", help="how much of each source and task can be used")
    coverage.add_argument("metrics", nargs="?", default="metrics/validation.json", metavar="METRICS.json")
    coverage.set_defaults(run=_coverage)

    doctor = commands.add_parser("doctor", help="say what this machine lacks for a profile")
    doctor.add_argument("--profile", help="name of a profile (default: the one in use)")
    doctor.set_defaults(run=_doctor)
    return parser


def _rewards(arguments: argparse.Namespace) -> int:
    """One line of JSON per row: `{"id": ..., "rewards": {name: number or null}, "total": number}`."""
    from openo3.command_input import InputError, read_reward_rows
    from openo3.rewards import score, total

    try:
        rows = read_reward_rows(arguments.rows, arguments.box_space)
    except InputError as error:
        return _refuse(error)
    for row in rows:
        rewards = score(row.sample, row.completion, row.progress, arguments.gate)
        print(json.dumps({"id": row.id, "rewards": rewards, "total": total(rewards)}, allow_nan=False))
    return 0


def _score_vstar(arguments: argparse.Namespace) -> int:
    """All numbers as one JSON object: `overall`, `length/...`, `domain/...`."""
    from openo3 import judges
    from openo3.benchmarks.vstar_scores import report
    from openo3.command_input import read_vstar_results

    kind = "served" if arguments.judge_url or arguments.judge_model else "rouge"
    try:
        judge = judges.load(judges.JudgeParams(kind, arguments.judge_url, arguments.judge_model))
        results = read_vstar_results(arguments.results)
    except ValueError as error:  # the judge's, or an InputError
        return _refuse(error)
    try:
        numbers = report(results, judge)
    except ConnectionError as error:
        return _refuse(error, status=1)
    print(json.dumps(numbers, indent=2, allow_nan=False))
    return 0


def _coverage(arguments: argparse.Namespace) -> int:
    from openo3 import coverage_table

    try:
        coverage_table.show(arguments.metrics)
    except coverage_table.CoverageError as error:
        return _refuse(error)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from openo3 import doctor

    return doctor.main(arguments.profile)


def _refuse(error: Exception, status: int = 2) -> int:
    print(f"openo3: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
