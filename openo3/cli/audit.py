"""`openo3 audit MODEL`: does the evidence that a checkpoint cites matter to its answers?

    openo3 audit gspo                            # data/models/gspo on V-STaR, as `evaluate` asked it
    openo3 audit base sft gspo --max-records 40 --open

For every claim of an answer, the cited boxes are painted over, and as large boxes at random places instead,
and the given answer is scored again by its log-probability. It writes `audit/MODEL.json` and
`audit/MODEL.html`. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from openo3.cli.errors import refuse

OUT = Path("audit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="checkpoints in data/models by name")
    parser.add_argument("--benchmark", help="whose answers, default: V-STaR's")
    parser.add_argument("--condition", default="greedy", help="how they were asked, default: greedy")
    parser.add_argument("--max-records", type=_count, metavar="N", help="the first N records, default: all")
    parser.add_argument(
        "--draws", type=_count, default=8, metavar="N", help="random places a claim, default: 8"
    )
    parser.add_argument(
        "--around", type=_number, default=1.0, metavar="SECONDS",
        help="hide the boxes in all frames this near to the cited time, default: 1",
    )  # fmt: skip
    parser.add_argument(
        "--margin", type=_number, default=0.1, metavar="SHARE",
        help="by how much of its size a box is widened on each side, default: 0.1",
    )  # fmt: skip
    parser.add_argument(
        "--fill", choices=("border", "surroundings", "grey"), default="border",
        help="with what a box is painted over: its border continued, the median colour around it, or grey",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the random places, default: 0")
    parser.add_argument(
        "--tokens-per-batch", type=_count, default=16384, metavar="N",
        help="tokens that pass the model at once; raise it on a large GPU",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help=f"default: {OUT}")
    parser.add_argument("--open", action="store_true", help="open the pages in the browser")


def run(arguments: argparse.Namespace) -> int:
    """Audit each checkpoint of the checkout in the current folder; print its numbers and where its page
    is."""
    from openo3.audit.build import write
    from openo3.audit.run import Hiding, Limits, Settings, model_folder
    from openo3.configuration import ConfigurationError
    from openo3.player.viewing import open_in_browser

    hiding = Hiding(arguments.around, arguments.margin, arguments.fill, arguments.draws, arguments.seed)
    benchmark = arguments.benchmark or Settings.benchmark
    settings = Settings(benchmark, arguments.condition, arguments.max_records, hiding)
    limits = Limits(tokens_per_batch=arguments.tokens_per_batch)
    try:
        for model in arguments.models:  # before the first of them is measured
            model_folder(Path("."), model)
        for model in arguments.models:
            summary = write(Path("."), model, settings, arguments.out, limits)
            print(summary)
            if arguments.open:
                open_in_browser(summary.page)
    except (ConfigurationError, OSError, ValueError) as error:
        return refuse(ValueError(" ".join(str(error).split())))
    return 0


def _count(text: str) -> int:
    return int(_checked(text, int(text) > 0 if text.isdecimal() else False, "a whole number above 0"))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    return float(_checked(text, 0 <= value < 1e9, "a number of at least 0"))


def _checked(text: str, good: bool, expected: str) -> Any:
    if not good:
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
    return text
