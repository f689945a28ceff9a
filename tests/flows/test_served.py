"""Deployments as `make ui` serves them: schedules, cancelling, and killed processes."""

import base64
import os
import re
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import psutil
import pytest
from prefect import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from tests.flows.conftest import Server
from tests.flows.small_pipeline import until
from tests.support.browser import BROWSER, Browser
from tests.support.checkout import ROOT
from tests.support.ports import free_port

pytestmark = pytest.mark.slow


@contextmanager
def serving(module, pipeline, env, *arguments):
    """Start `python -m flows.serve` or `flows.ui` in the pipeline's folder and wait until it serves."""
    log = pipeline.folder / ".cache/serve.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=pipeline.folder, env=env, stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture(scope="module")
def served(server, done_pipeline, tmp_path_factory):
    """A pipeline whose deployments are served without a schedule."""
    pipeline = done_pipeline.copy(tmp_path_factory.mktemp("served"))
    pipeline.set_params(seed=0, sides=1)
    with (
        serving("flows.serve", pipeline, server.env(), "--no-schedule"),
        get_client(sync_client=True) as client,
    ):
        until(lambda: len(deployments(client)) == 3, 60)
        yield pipeline


def deployments(client):
    named = DeploymentFilter(name=DeploymentFilterName(any_=["local"]))
    return client.read_deployments(deployment_filter=named)


def start(**parameters):
    return run_deployment("reproduce/local", timeout=0, parameters=parameters)


def ended(client, run, wait_s=60):
    """Wait for the run to end and return the server's view of it."""

    def final():
        now = client.read_flow_run(run.id)
        return now if now.state.is_final() else None

    return until(final, wait_s)


def tasks(client, run):
    from tests.flows.conftest import FlowRunFilter, FlowRunFilterId

    found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    return {task.name: task.state.name for task in found if task.state}


def sleepers(pipeline):
    """The remaining processes of a hanging stage."""
    words = {"86398", "86399", "side@left"}
    return [command for command in pipeline.commands() if words & set(command)]


@pytest.fixture(scope="module")
def begun():
    """The runs in which side@left hung. Each goes on after the one before, which a test has ended."""
    return []


@pytest.fixture
def hanging(served, client, begun):
    """A run in which side@left hangs and side@right is done: by the first such run, and never again."""
    (served.folder / "times/side@left.pid").unlink(missing_ok=True)
    served.behave("side@left", "hang")
    run = start()
    served.pid("side@left", 60)
    right = "Unchanged" if begun else "Ran"
    until(lambda: tasks(client, run).get("side@right") == right)
    begun.append(run)
    yield run
    served.behave("side@left", None)


def test_cancelling_ends_every_process(served, client, hanging):
    client.set_flow_run_state(hanging.id, Cancelling())
    assert ended(client, hanging).state.name == "Cancelled"
    until(lambda: not sleepers(served))
    stopped = {"side@left": "Stopped", "join": "Stopped"}
    until(lambda: tasks(client, hanging).items() >= stopped.items())
    assert tasks(client, hanging)["source"] == "Unchanged"


def test_a_second_served_run_is_refused_while_one_is_running(served, client, hanging):
    second = ended(client, start())
    assert second.state.type.value == "CANCELLED"
    assert not client.read_flow_run(hanging.id).state.is_final()
    other = subprocess.run(
        [sys.executable, "-m", "flows.reproduce"], cwd=served.folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": str(client.api_url)}, check=False,
    )  # fmt: skip
    assert "Busy: another run is using this checkout" in other.stdout
    client.set_flow_run_state(hanging.id, Cancelling())
    ended(client, hanging)


def test_kill_9_of_the_flow_ends_its_stages_and_is_reported(served, client, hanging):
    flow = psutil.Process(served.pid("side@left"))
    while "flows/guard.py" not in " ".join(flow.cmdline()):
        flow = flow.parent()
    flow = flow.parent()
    flow.kill()
    until(lambda: not sleepers(served))
    assert ended(client, hanging).state.type.value == "CRASHED"
    until(lambda: tasks(client, hanging)["side@left"] == "Crashed")


@pytest.mark.parametrize("which", ["dvc", "stage"])
def test_kill_9_of_dvc_or_of_its_stage_fails_the_stage(served, client, hanging, which):
    stage = psutil.Process(served.pid("side@left"))
    (stage if which == "stage" else _dvc_of(stage)).kill()
    run = ended(client, hanging)
    assert run.state.type.value == "FAILED"
    assert "side@left failed with exit status" in run.state.message
    assert tasks(client, hanging)["join"] == "Skipped"
    until(lambda: not sleepers(served))


def test_the_run_after_all_of_these_executes_what_remains(served, client, begun):
    run = ended(client, start())
    assert run.state.name == "Completed", run.state.message
    right = "Unchanged" if begun else "Ran"
    assert tasks(client, run) | {"join": ""} == {
        "source": "Unchanged", "side@left": "Ran", "side@right": right, "join": ""
    }  # fmt: skip


def _dvc_of(process):
    while "flows/guard.py" not in " ".join(process.parent().cmdline()):
        process = process.parent()
    return process


def test_a_temporary_server_outage_loses_no_work(served, server, client):
    served.set_params(seed=0, sides=int.from_bytes(os.urandom(3)))
    served.behave("side@left", "sleep 12")
    run = start()
    until(lambda: tasks(client, run).get("side@right") == "Ran")
    server.kill()
    server.start()
    run = ended(client, run, 90)
    assert run.state.name == "Completed"
    assert served.run("dvc", "status", "--json").strip() == "{}"


def test_a_schedule_fires_and_the_ui_shows_it(done_pipeline, tmp_path):
    pipeline = done_pipeline.copy(tmp_path / "checkout")
    pipeline.behave("side@left", "bars")
    pipeline.set_params(seed=0, sides=1)
    (pipeline.folder / "reports").mkdir()
    (pipeline.folder / "reports/index.html").write_text("<h1>The report</h1>")
    ui = Server(free_port(), tmp_path / "prefect")
    env = ui.env()
    del env["PREFECT_API_URL"]
    password = env["PREFECT_SERVER_API_AUTH_STRING"] = "someone:a word of their own"
    with (
        serving("flows.ui", pipeline, env, "--port", str(ui.port), "--every", "6") as process,
        temporary_settings({PREFECT_API_URL: f"{ui.url}/api", PREFECT_API_AUTH_STRING: password}),
        get_client(sync_client=True) as client,
    ):
        until(lambda: ui.healthy() or process.poll() is not None, 90)

        def runs():
            found = [run for run in client.read_flow_runs() if run.state.is_completed()]
            return sorted(found, key=lambda run: run.expected_start_time)

        first, second = until(lambda: runs() if len(runs()) > 1 else None, 180)[:2]
        for deployment in deployments(client):
            client.pause_deployment(deployment.id)  # further runs would only slow the rest down
        assert first.name == second.name == "edited parameters · scheduled"
        assert tasks(client, first)["side@left"] == "Ran"
        assert second.state.name == "Unchanged"
        artifacts = client.read_artifacts()
        (report,) = {re.search(r"\[Report\]\((.*?)\)", a.data)[1] for a in artifacts if a.key == "stages"}
        assert b"The report" in urllib.request.urlopen(report).read()
        if BROWSER:
            (artifact,) = [a.id for a in artifacts if a.flow_run_id == first.id and a.key == "stages"]
            stored = base64.b64encode(password.encode()).decode()
            with Browser() as browser:
                page = browser.open(ui.url, width=1400, height=1400)
                page.run(f"localStorage.setItem('prefect-password', '{stored}')")
                for path, expected in (
                    (f"/runs/flow-run/{first.id}", "edited parameters · scheduled"),
                    (f"/artifacts/artifact/{artifact}", "uncommitted changes"),
                ):
                    page.call("Page.navigate", {"url": f"{ui.url}{path}"})
                    page.wait(f"document.documentElement?.outerHTML.includes('{expected}')", 60)
    assert not ui.healthy()
    until(lambda: not pipeline.commands())
