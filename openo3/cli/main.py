"""The command `openo3`.

Bad input ends a command with one line on standard error and exit status 2, before anything is printed.
Heavy modules are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

COMMANDS = {
    "ask": "ask a model about a video or an image",
    "serve": "answer questions over HTTP, with a page for people",
    "annotate": "write training records for a folder of clips with a model behind an endpoint",
    "audit": "measure whether the evidence that a checkpoint cites matters",
    "look": "show training records on their clips, and correct them",
    "gallery": "show every prediction of every checkpoint in the browser",
    "rewards": "score completions with the rewards",
    "score": "score the results of a benchmark",
    "compare": "show how two models' numbers differ, and their protocols",
    "coverage": "show how much of each source and task is usable",
    "doctor": "check that this machine can run a profile",
    "convert": "turn annotations of other tools into records, and records into theirs",
    "rehearse": "run a profile's stages for a few steps and project the whole run",
    "publish": "write or upload a checkpoint with a card and its results",
    "profile": "switch the pipeline to another profile",
}
"""Commands with their help. `openo3.cli.NAME` has `add_arguments(parser)` and `run(arguments)`, whose result
is the exit status; it is imported only for the command that is run."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit status."""
    arguments = _parser(sys.argv[1:] if argv is None else argv).parse_args(argv)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """All commands; only the one that `argv` names has arguments."""
    parser = _Parser(
        prog="openo3",
        description="Grounded video reasoning: ask a model, score answers, check the machine.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name in argv[:1]:
            module = import_module(f"openo3.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser
