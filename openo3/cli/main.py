"""The command `openo3`.

Bad input ends a command with one line on standard error and exit status 2, before anything is printed.
Heavy modules are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from openo3.cli import ask, coverage, doctor, profile, rewards, score

COMMANDS = (ask, rewards, score, coverage, doctor, profile)
"""Modules named like their commands, each with `HELP`, `add_arguments(parser)` and `run(arguments)`, whose
result is the exit status."""


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
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="openo3",
        description="Grounded video reasoning: ask a model, score answers, check up.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        command = commands.add_parser(module.__name__.rpartition(".")[2], help=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
