"""`openo3 coverage`: how much of each source and task is usable, and what is missing, as tables.

The numbers are those of `metrics/validation.json`, which the stage `validate` writes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from openo3.cli.errors import refuse


class CoverageError(ValueError):
    """The file is not one that `validate` writes; the message names the file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("metrics", nargs="?", default="metrics/validation.json", metavar="METRICS.json")


def run(arguments: argparse.Namespace) -> int:
    try:
        show(arguments.metrics)
    except CoverageError as error:
        return refuse(error)
    return 0


def show(path: str | Path) -> None:
    """Print the tables.

    Raises `CoverageError` if the file is not there or holds something else.
    """
    try:
        metrics = json.loads(Path(path).read_bytes())
        tables = [*_files(metrics), _missing(metrics["missing"])]
    except OSError as error:
        raise CoverageError(f"{path}: {error.strerror}; `dvc repro validate` writes it") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise CoverageError(f"{path}: not the metrics of validate ({type(error).__name__})") from None
    console = Console()
    console.width = max(console.width, 110)
    for table in tables:
        if table.row_count:
            console.print(table)


def _files(metrics: Mapping[str, Any]) -> Iterable[Table]:
    for name, sources in metrics["sources"].items():
        share = metrics["files"][name]["rejected_share"]
        table = _table(f"{name}: {1 - share:.1%} usable", "source", "task")
        for column in ("rows", "readable", "with media", "with key frames", "usable"):
            table.add_column(column, justify="right")
        for source, tasks in sources.items():
            for task, counts in tasks.items():
                numbers = (counts[key] for key in ("rows", "readable", "media", "key_frames", "usable"))
                table.add_row(escape(source), escape(task), *map("{:,}".format, numbers))
        yield table


def _missing(missing: Mapping[str, Any]) -> Table:
    table = _table("media that could not be fetched", "source")
    table.add_column("files", justify="right")
    table.add_column("why", overflow="fold")
    table.add_column("for example", overflow="fold")
    for source, reasons in missing.items():
        for reason, counts in reasons.items():
            table.add_row(escape(source), f"{counts['files']:,}", escape(reason), escape(counts["example"]))
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left")
