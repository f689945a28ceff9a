"""A real Prefect server on a free port, with its own database, and small real DVC repositories."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="openo3-prefect-")  # before anything imports Prefect

import psutil
import pytest
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import Artifact, State, TaskRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.command import guarded
from tests.flows.small_pipeline import SmallPipeline, until
from tests.support.checkout import ROOT
from tests.support.ports import free_port


@dataclass
class Server:
    port: int
    home: Path
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def env(self) -> dict[str, str]:
        """The environment of a process that uses this server."""
        quick = {
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
            "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "2",
            "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME": "PT30S",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        }
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        own = {"PREFECT_HOME": str(self.home), "PREFECT_API_URL": f"{self.url}/api", "PYTHONPATH": path}
        return os.environ | quick | own

    def start(self) -> Server:
        command = guarded()  # so that the server ends with these tests
        command += [sys.executable, "-m", "prefect", "server", "start", "--port", str(self.port)]
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.env(), stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: self.healthy() or self.process.poll() is not None, 120)
        assert self.process.poll() is None, (self.home / "server.log").read_text()[-2000:]
        return self

    def healthy(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        for process in psutil.Process(self.process.pid).children(recursive=True):
            process.kill()
        self.stop()

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(free_port(), tmp_path_factory.mktemp("prefect")).start()
    with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
        yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="session")
def new_pipeline(tmp_path_factory: pytest.TempPathFactory) -> SmallPipeline:
    return SmallPipeline.create(tmp_path_factory.mktemp("new"))


@pytest.fixture(scope="session")
def done_pipeline(new_pipeline: SmallPipeline, tmp_path_factory: pytest.TempPathFactory) -> SmallPipeline:
    """Like `new_pipeline`, but reproduced and committed."""
    pipeline = new_pipeline.copy(tmp_path_factory.mktemp("done"))
    pipeline.run("dvc", "repro", "--quiet")
    pipeline.commit()
    return pipeline


@pytest.fixture
def pipeline(done_pipeline: SmallPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPipeline:
    """The test's own reproduced pipeline, set as the current folder."""
    pipeline = done_pipeline.copy(tmp_path / "checkout")
    monkeypatch.chdir(pipeline.folder)
    return pipeline


@dataclass
class Finished:
    """A flow run and what its page shows."""

    state: State
    tasks: dict[str, TaskRun]
    artifacts: dict[str, Artifact]
    name: str

    @property
    def stages(self) -> dict[str, str]:
        return {name: task.state.name for name, task in self.tasks.items()}


@pytest.fixture
def reproduce(pipeline: SmallPipeline, client: SyncPrefectClient) -> Callable[..., Finished]:
    """Run the flow in this process, in the pipeline's folder."""
    from flows.reproduce import reproduce as flow

    def run(**parameters: Any) -> Finished:
        state = flow(**parameters, return_state=True)
        return finished(client, state)

    return run


def finished(client: SyncPrefectClient, state: State) -> Finished:
    """The server's view of a run; task states arrive as events, a moment later."""
    run_id = state.state_details.flow_run_id
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))

    found = client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    )
    artifacts = {artifact.key: artifact for artifact in found}
    count = artifacts["stages"].data.count("\n| `") if "stages" in artifacts else 0

    def tasks() -> dict[str, TaskRun] | None:
        found = client.read_task_runs(flow_run_filter=mine)
        final = {task.name: task for task in found if task.state and task.state.is_final()}
        return final if len(final) == count else None

    shown = until(tasks) if count else {}
    return Finished(state, shown, artifacts, client.read_flow_run(run_id).name)


class _Webhook(ThreadingHTTPServer):
    """Stores the JSON it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.received: list[Any] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        self.send_response(204)
        self.end_headers()


@pytest.fixture
def local_webhook() -> Iterator[_Webhook]:
    with _Webhook() as webhook:
        threading.Thread(target=webhook.serve_forever, daemon=True).start()
        yield webhook
        webhook.shutdown()
