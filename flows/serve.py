"""Serve the deployments of this checkout: their schedules fire here, and the UI can start and cancel them.

    python -m flows.serve [--cron "0 3 * * *" | --every SECONDS | --no-schedule] [--profile NAME] [--push]

The Prefect server is the one that PREFECT_API_URL names; `python -m flows.ui` starts its own server.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import TerminationSignal
from prefect.runner import Runner
from prefect.schedules import Cron, Interval, Schedule

from flows.cleanup import close_runs
from flows.evaluate import evaluate
from flows.refresh_data import refresh_data
from flows.reproduce import reproduce

NIGHTLY = "0 3 * * *"
ALONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


def schedule(arguments: argparse.Namespace) -> Schedule | None:
    given: dict[str, Any] = {"parameters": {"reason": "scheduled"}}
    if arguments.every:
        return Interval(timedelta(seconds=arguments.every), **given)
    return None if arguments.no_schedule else Cron(arguments.cron, **given)


def cron(text: str) -> str:
    try:
        return CronSchedule(cron=text).cron
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a cron schedule such as '0 3 * * *'") from error


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    when = parser.add_mutually_exclusive_group()
    schedule_help = f"when reproduce runs by itself (default: {NIGHTLY})"
    when.add_argument("--cron", type=cron, default=NIGHTLY, help=schedule_help)
    when.add_argument("--every", type=float, metavar="SECONDS", help="run it in this interval instead")
    when.add_argument("--no-schedule", action="store_true", help="run it only when asked")
    parser.add_argument("--profile", help="the profile of scheduled runs (default: the active one)")
    parser.add_argument("--push", action="store_true", help="push to the DVC remote after each run")
    parser.add_argument("--notify", metavar="BLOCK", help="a notification block, as custom-webhook/NAME")
    return parser.parse_args(arguments)


def main(given: argparse.Namespace, ask_s: float | None = None) -> None:
    """Serve until interrupted, polling the server for due runs every `ask_s` seconds.

    For `None`, Prefect's settings give the interval.
    """
    tag = f"checkout:{Path.cwd()}"
    close_runs(tag)
    # no prefetching: a run that waits for its start time would block others
    runner = Runner(name="local", prefetch_seconds=0, query_seconds=ask_s)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background processes of a shell ignore it
    runner.handle_sigterm = lambda *_: signal.raise_signal(
        signal.SIGINT
    )  # the runner's own handler leaves the loop running
    common = {"push": given.push, "notify": given.notify}
    planned = {"profile": given.profile, **common}
    alike = {"name": "local", "concurrency_limit": ALONE, "tags": [tag]}
    runner.add_flow(reproduce, schedule=schedule(given), parameters=planned, **alike)
    runner.add_flow(refresh_data, parameters=common, **alike)
    runner.add_flow(evaluate, parameters=common, **alike)
    try:
        asyncio.run(runner.start())
    except (KeyboardInterrupt, TerminationSignal):
        return


if __name__ == "__main__":
    main(options())
