"""`openo3 gallery`: every prediction of every checkpoint as a folder of static pages.

    openo3 gallery --open

It shows what `evaluate` wrote to `data/predictions`. The folder can be opened from disk or served by any web
server.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from openo3.cli.errors import refuse

OUT = Path("reports/gallery")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help=f"default: {OUT}")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="checkpoints to show, default: all")
    parser.add_argument("--open", action="store_true", help="open it in the browser")


def run(arguments: argparse.Namespace) -> int:
    """Write the gallery of the checkout in the current folder, and print where it is and its size."""
    from openo3.gallery.build import write
    from openo3.player.viewing import open_in_browser

    try:
        summary = write(Path("."), arguments.out, arguments.models)
    except (OSError, ValueError) as error:
        return refuse(ValueError(" ".join(str(error).split())))
    print(summary)
    if arguments.open:
        open_in_browser(summary.page)
    return 0
