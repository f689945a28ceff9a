"""`openo3 rewards`: the rewards of completions, one JSON line per row."""

from __future__ import annotations

import argparse
import json

from openo3.cli.errors import InputError, refuse

HELP = "score completions with the seven rewards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", metavar="ROWS.jsonl", help="one row a line; - reads standard input")
    parser.add_argument("--gate", choices=("symmetric", "released"), default="symmetric")
    parser.add_argument("--box-space", choices=("pixels", "relative_1000", "permille"), default="pixels")


def run(arguments: argparse.Namespace) -> int:
    """One line of JSON per row: `{"id": ..., "rewards": {name: number or null}, "total": number}`."""
    from openo3.cli.command_input import read_reward_rows
    from openo3.core.rewards import score, total

    try:
        rows = read_reward_rows(arguments.rows, arguments.box_space)
    except InputError as error:
        return refuse(error)
    for row in rows:
        rewards = score(row.sample, row.completion, row.progress, arguments.gate)
        print(json.dumps({"id": row.id, "rewards": rewards, "total": total(rewards)}, allow_nan=False))
    return 0
