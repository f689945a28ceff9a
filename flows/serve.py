"""Serves the deployments of this checkout: their schedules fire here, and the UI can start and cancel them.

    python -m flows.serve [--cron "0 3 * * *" | --every SECONDS | --no-schedule] [--profile NAME] [--push]

The Prefect server is the one that PREFECT_API_URL names; `python -m flows.ui` brings one of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from prefect import get_client, serve
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    FlowRun,
    State,
    StateType,
)
from prefect.flows import Flow
from prefect.schedules import Cron, Interval, Schedule
from prefect.states import Crashed

from flows.evaluate import evaluate
from flows.locks import CheckoutBusy, checkout_lock
from flows.refresh_data import refresh_data
from flows.reproduce import reproduce

NIGHTLY = "0 3 * * *"
UNFINISHED = [StateType.RUNNING, StateType.PENDING]
ALONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


def close_tasks(flow: Flow, run: FlowRun, state: State) -> None:
    """Tasks of a run that was killed: they ended with it, whatever the server still believes."""
    running = TaskRunFilterState(type=TaskRunFilterStateType(any_=UNFINISHED))
    with get_client(sync_client=True) as client:
        for task in client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
            task_run_filter=TaskRunFilter(state=running),
        ):
            client.set_task_run_state(
                task.id, Crashed(message=f"ended with its run: {state.name}"), force=True
            )


def close_runs(tag: str) -> None:
    """Runs of this checkout that a server remembers as running, although none holds the checkout."""
    mine = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])),
    )
    try:
        with checkout_lock(Path.cwd(), "flows.serve"), get_client(sync_client=True) as client:
            for run in client.read_flow_runs(flow_run_filter=mine):
                gone = Crashed(message="the machine or the process that ran it is gone")
                client.set_flow_run_state(run.id, gone, force=True)
                close_tasks(reproduce, run, gone)
    except CheckoutBusy:
        return


def schedule(arguments: argparse.Namespace) -> Schedule | None:
    given = {"parameters": {"reason": "scheduled"}}
    if arguments.every:
        return Interval(timedelta(seconds=arguments.every), **given)
    return None if arguments.no_schedule else Cron(arguments.cron, **given)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--cron", default=NIGHTLY, help=f"when reproduce runs by itself (default: {NIGHTLY})")
    when.add_argument("--every", type=float, metavar="SECONDS", help="run it in this interval instead")
    when.add_argument("--no-schedule", action="store_true", help="run it only when asked")
    parser.add_argument("--profile", help="the profile of scheduled runs (default: the active one)")
    parser.add_argument("--push", action="store_true", help="push to the DVC remote after each run")
    parser.add_argument("--notify", metavar="BLOCK", help="a notification block, as custom-webhook/NAME")
    given = parser.parse_args(arguments)
    tag = f"checkout:{Path.cwd()}"
    close_runs(tag)
    common = {"push": given.push, "notify": given.notify}
    planned = {"profile": given.profile, **common}
    options = {"concurrency_limit": ALONE, "tags": [tag]}
    deployments = [
        reproduce.to_deployment("local", schedule=schedule(given), parameters=planned, **options),
        refresh_data.to_deployment("local", parameters=common, **options),
        evaluate.to_deployment("local", parameters=common, **options),
    ]
    for flow in (reproduce, refresh_data, evaluate):
        flow.on_crashed(close_tasks)
        flow.on_cancellation(close_tasks)
    serve(*deployments, print_starting_message=False)


if __name__ == "__main__":
    main()
