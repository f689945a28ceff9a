"""The task runs of a flow run that ended without reporting them."""

import pytest
from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Cancelling, Crashed, Running

from flows.cleanup import close_tasks
from flows.reproduce import reproduce


@pytest.mark.parametrize(("ending", "state"), [(Cancelling(), "Stopped"), (Crashed(), "Crashed")])
def test_a_task_without_a_final_state_gets_the_state_of_its_run(pipeline, client, ending: State, state: str):
    run = client.create_flow_run(reproduce, state=Running())
    side = task(lambda: None, name="side@left")
    begun = client.create_task_run(side, run.id, dynamic_key="0", name=side.name, state=Running())
    close_tasks(reproduce, run, ending)
    closed = client.read_task_run(begun.id)
    assert closed.state.name == state
    assert closed.state.message == f"ended with its run: {ending.name}"
