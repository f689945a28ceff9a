"""`openo3 rehearse`: run a profile's own stages for a few steps, and project the whole run from them.

It builds the profile's model with random weights (nothing is downloaded) and takes some of the data that is
there, or makes data of the same shape. Then it runs SFT, GSPO and the evaluation as the profile launches
them, with a checkpoint after which training is ended and resumed. All of it goes into a folder of its own.

The exit status is 0 if everything fits, 1 if something does not, 2 for a profile that cannot run here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from openo3.cli.doctor import memory_bytes, profile_path
from openo3.cli.errors import refuse
from openo3.configuration import ConfigurationError, read_blocks

if TYPE_CHECKING:
    from openo3.rehearsal.projection import Whole
    from openo3.rehearsal.rehearse import Rehearsal, StageReport

GB = 1e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", help="name of a profile (default: the one in use)")
    parser.add_argument(
        "--gpus", type=_positive, metavar="N", help="GPUs that train (default: what the launcher starts)"
    )
    parser.add_argument(
        "--minutes", type=_minutes, default=5.0, metavar="M",
        help="about how long to measure, once two rollouts are done (default: 5)",
    )  # fmt: skip
    parser.add_argument(
        "--layers", type=_positive, metavar="N", help="keep only the first N language layers of a hub model"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="a new folder for the rehearsal, which stays"
    )
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON")


def run(arguments: argparse.Namespace) -> int:
    from openo3.rehearsal.launch import StageFailed
    from openo3.rehearsal.rehearse import RehearsalError, Request, rehearse

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running stage is ended too
    try:
        path = profile_path(arguments.profile)
        request = Request(
            Path.cwd(), path.stem if arguments.profile else str(path), read_blocks(path), arguments.gpus,
            arguments.minutes, arguments.layers, arguments.keep, memory_bytes(),
        )  # fmt: skip
        found = rehearse(request, _say())
    except (ConfigurationError, RehearsalError, StageFailed) as error:
        return refuse(error)
    finally:
        signal.signal(signal.SIGTERM, before)
    if arguments.json:
        print(json.dumps(as_json(found), indent=2))
    else:
        show(found)
    return 1 if found.problems else 0


def as_json(found: Rehearsal) -> dict[str, object]:
    """All numbers; the sums of the whole run beside their parts."""
    whole = found.whole
    sums = {"hours": whole.hours, "disk_gb": whole.disk_gb} if whole else {}
    return {**dataclasses.asdict(found), "whole": {**dataclasses.asdict(whole), **sums} if whole else None}


def show(found: Rehearsal) -> None:
    """Print the tables."""
    console = Console()
    console.width = max(console.width, 110)
    print(f"{found.profile} on {found.device}, {found.size.weights / 1e9:.3g} billion weights, ", end="")
    print(f"rehearsed in {found.seconds / 60:.1f} minutes")
    for note in found.notes:
        print(f"  {note}")
    console.print(_stages(found))
    console.print(_time(found))
    console.print(_evaluation(found))
    if found.whole:
        console.print(_whole(found.whole))
    console.print(_estimates(found))
    for problem in found.problems:
        print(f"- {problem}")
    print("what does not fit is above" if found.problems else "everything fits")


def _stages(found: Rehearsal) -> Table:
    gpu = " per GPU" if "GPU" in found.device or found.processes > 1 else ""
    table = _table("Training", *found.stages)
    rows = {
        "steps measured": lambda s: f"{s.training.steps}" if s.training else "-",
        "seconds per step": lambda s: f"{s.training.step_s:.2f}" if s.training else "-",
        f"tokens/s{gpu}": lambda s: f"{s.training.tokens_per_s:,.0f}" if s.training else "-",
        f"completions/s{gpu}": lambda s: (
            f"{s.training.completions_per_s:.2f}" if s.training and s.training.completions_per_s else "-"
        ),
        "tokens of a completion": lambda s: (
            f"{s.training.completion_tokens:.0f}" if s.training and s.training.completion_tokens else "-"
        ),
        "update's share of the peak": lambda s: f"{s.share_of_peak:.0%}" if s.share_of_peak else "-",
        "most memory of a GPU": lambda s: _size(s.gpu_bytes),
        "most memory of the machine": lambda s: _size(s.memory_bytes),
        "before the first step": lambda s: f"{s.loading_s:.1f} s",
        "a checkpoint": lambda s: f"{_size(s.checkpoint_bytes)} in {s.save_s:.1f} s",
        "resumed": _resumed,
        "the trained model": lambda s: f"{_size(s.model_bytes)} in {s.ending_s:.1f} s",
    }
    for name, text in rows.items():
        cells = [text(stage) for stage in found.stages.values()]
        if set(cells) != {"-"}:
            table.add_row(name, *cells)
    return table


def _resumed(stage: StageReport) -> str:
    if stage.resumed is None:
        return "no"
    return f"after step {stage.saved_at}, to step {stage.resumed[1]}"


def _time(found: Rehearsal) -> Table:
    table = _table("Where the time of a step goes", *found.stages)
    trained = [stage.training for stage in found.stages.values()]
    for name in dict.fromkeys(name for each in trained if each for name in each.parts):
        if all(each.parts.get(name, 0.0) < 0.005 * each.step_s for each in trained if each):
            continue
        cells = []
        for each in trained:
            seconds = each.parts.get(name) if each else None
            cells.append(f"{seconds:.2f} s  {seconds / each.step_s:4.0%}" if each and seconds else "-")
        table.add_row(name, *cells)
    return table


def _evaluation(found: Rehearsal) -> Table:
    evaluation = found.evaluation
    rate = f", {evaluation.tokens_per_s:,.0f} tokens/s written" if evaluation.tokens_per_s else ""
    table = _table(f"Evaluation of {evaluation.model}{rate}", "records", "seconds", "seconds per record")
    for each in evaluation.asked:
        per = each.seconds / max(1, each.records)
        table.add_row(
            f"{each.benchmark}, {each.condition}", f"{each.records}", f"{each.seconds:.1f}", f"{per:.2f}"
        )
    return table


def _whole(whole: Whole) -> Table:
    table = _table(
        f"The whole run: {_hours(whole.hours)} and {whole.disk_gb:,.2f} GB of disk", "steps", "time",
        "checkpoints", "model",
    )  # fmt: skip
    for stage in whole.stages:
        table.add_row(
            stage.name, f"{stage.steps:,}", _hours(stage.hours), f"{stage.checkpoints_gb:,.2f} GB",
            f"{stage.model_gb:,.2f} GB",
        )  # fmt: skip
    for name, hours in whole.evaluation_hours.items():
        table.add_row(f"evaluate {name}", "", _hours(hours), "", "")
    if whole.frames_gb is not None:
        table.add_row("frames, which are there", "", "", "", f"{whole.frames_gb:,.2f} GB")
    if whole.left_out:
        table.add_row(f"not rehearsed: {', '.join(whole.left_out)}", "", "?", "", "")
    return table


def _estimates(found: Rehearsal) -> Table:
    table = _table("The doctor's estimates", "estimated", "measured", "measured / estimated")
    for each in found.estimates:
        ratio = f"{each.measured_gb / each.estimated_gb:.2f}" if each.estimated_gb else "-"
        table.add_row(each.what, f"{each.estimated_gb:,.2f} GB", f"{each.measured_gb:,.2f} GB", ratio)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table("", title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _size(count: int | None) -> str:
    """Bytes in GB, or in MB where that says more; nothing for none."""
    if not count:
        return "-"
    return f"{count / GB:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _say() -> Callable[[str], None]:
    """Progress goes to standard error, with the minutes since the start."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{(time.monotonic() - began) / 60:4.1f} min] {text}", file=sys.stderr, flush=True)

    return say


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e4:
        raise argparse.ArgumentTypeError(f"{text} is not a number of minutes")
    return value
