"""Close the Prefect runs of killed processes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
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
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.flows import Flow
from prefect.states import Cancelled, Crashed

from flows import parameters
from flows.locks import CheckoutBusy, checkout_lock

UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]


def close_tasks(flow: Flow, flow_run: FlowRun, state: State) -> None:
    """Hook for a run that crashed or was cancelled: close its unfinished tasks too.

    A stopped task reports its own state, but its process may end before the report arrives.
    """
    said = f"ended with its run: {state.name}"
    ending = Cancelled(name="Stopped", message=said) if state.is_cancelling() else Crashed(message=said)
    with get_client(sync_client=True) as client:
        _close_tasks(client, flow_run, ending)
    with suppress(CheckoutBusy), checkout_lock(Path.cwd(), "its clean-up"):
        parameters.restore()


def close_runs(tag: str) -> None:
    """Close the runs with `tag` that the server lists as unfinished, unless a run holds this checkout."""
    unfinished = FlowRunFilterState(name=None, type=FlowRunFilterStateType(any_=UNFINISHED))
    try:
        with checkout_lock(Path.cwd(), "flows.serve"), get_client(sync_client=True) as client:
            parameters.restore()
            tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]), state=unfinished)
            for run in client.read_flow_runs(flow_run_filter=tagged):
                gone = Crashed(message="the process or the machine that ran it has ended")
                client.set_flow_run_state(run.id, gone, force=True)
                _close_tasks(client, run, gone)
    except CheckoutBusy:
        return


def _close_tasks(client: SyncPrefectClient, run: FlowRun, ending: State) -> None:
    unfinished = TaskRunFilterState(name=None, type=TaskRunFilterStateType(any_=UNFINISHED))
    for task in client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
        task_run_filter=TaskRunFilter(state=unfinished),
    ):
        client.set_task_run_state(task.id, ending, force=True)
