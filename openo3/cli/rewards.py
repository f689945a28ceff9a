"""`openo3 rewards`: the rewards of completions, one JSON line per row."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from openo3.cli.errors import InputError, refuse
from openo3.configuration import ConfigurationError, parse_block, read_blocks

if TYPE_CHECKING:
    from openo3.core.rewards import RewardSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", metavar="ROWS.jsonl", help="one row a line; - reads standard input")
    settings = parser.add_mutually_exclusive_group()
    settings.add_argument("--gate", choices=("symmetric", "released"), default="symmetric")
    settings.add_argument(
        "--params", metavar="PARAMS.yaml", help="score as the training run of this file does (gspo.rewards)"
    )
    parser.add_argument("--box-space", choices=("pixels", "relative_1000", "permille"), default="pixels")


def run(arguments: argparse.Namespace) -> int:
    """One line of JSON per row: `{"id": ..., "rewards": {name: number or null}, "total": number}`.

    The rewards are unweighted, the total is weighted by the settings: all 1 without `--params`.
    """
    from openo3.cli.command_input import read_reward_rows
    from openo3.core.rewards import RewardSettings, score, total

    try:
        settings = read_settings(arguments.params) if arguments.params else RewardSettings(arguments.gate)
        rows = read_reward_rows(arguments.rows, arguments.box_space)
    except (ConfigurationError, InputError) as error:
        return refuse(error)
    for row in rows:
        rewards = score(row.sample, row.completion, row.progress, settings)
        line = {"id": row.id, "rewards": rewards, "total": total(rewards, settings)}
        print(json.dumps(line, allow_nan=False))
    return 0


def read_settings(path: str) -> RewardSettings:
    """The settings `gspo.rewards` of a parameter file; the defaults where it has none.

    Raises `ConfigurationError` for a file without a block `gspo`, and for a key that is unknown or of the
    wrong type.
    """
    from openo3.core.rewards import RewardSettings

    gspo = read_blocks(path).get("gspo")
    if not isinstance(gspo, dict):
        raise ConfigurationError(f"{path}: gspo: missing block")
    return parse_block(path, "gspo.rewards", gspo.get("rewards") or {}, RewardSettings)
