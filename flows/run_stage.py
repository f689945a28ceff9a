"""Run one stage as a Prefect task: wait for resources, reproduce the stage, report the outcome."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import exponential_backoff

from flows import command, graph, remote, resources
from flows.graph import Pipeline, Stage
from flows.progress import Progress

RETRIES, FIRST_WAIT_S = 3, 10.0  # for stages that use the network
TAIL = 15  # last output lines that a failed stage's state repeats
DVC_REPRO = Path(__file__).with_name("dvc_repro.py")
# DVC reports the exit status only in its message. If it changes, wrong parameters are retried
WRONG_PARAMETERS = re.compile(r"failed to run: .*, exited with 2$")


@dataclass(frozen=True)
class Outcome:
    """`state` is one of Ran, Unchanged, Restored, Failed, Skipped, Stopped; `why` explains the last three.

    `retryable` says whether a second attempt may succeed.
    """

    state: str
    seconds: float = 0.0
    why: str = ""
    retryable: bool = True

    @property
    def good(self) -> bool:
        return self.state in ("Ran", "Unchanged", "Restored")

    def as_state(self) -> State:
        message = self.why or f"{self.state.lower()}, {self.seconds:.1f} s"
        if self.good:
            return Completed(name=self.state, message=message)
        return (Failed if self.state == "Failed" else Cancelled)(name=self.state, message=message)


class Run:
    """The state that the stages of one flow run share. Setting `stop` ends all stages."""

    def __init__(self, pipeline: Pipeline, *, force: Collection[str] | None = (), pull: bool = False) -> None:
        names = [stage.name for stage in pipeline.stages]
        self.pipeline, self.force, self._pull = pipeline, names if force is None else force, pull
        self._asking, self._asked = threading.Lock(), False
        self.outcomes: dict[str, Outcome] = {}
        self.stop = threading.Event()
        self.cores, self.gpus = resources.Cores(), resources.gpus()

    def pulls(self) -> bool:
        """Whether to look for outputs on the remote. It is checked once, before the first stage runs.

        If the remote is unreachable, stages are computed here and the run goes on.
        """
        with self._asking:
            if self._pull and not self._asked and (why := remote.why_unreachable(self.pipeline.root)):
                get_run_logger().warning(f"continuing without the DVC remote: {why}")
                self._pull = False
            self._asked = True
            return self._pull

    def why_not(self, stage: Stage) -> str:
        """The reason why `stage` cannot start, or an empty string."""
        if self.stop.is_set():
            return "the run was stopped"
        for name in stage.after:
            before = self.outcomes[name]
            if not before.good:
                return before.why if before.state == "Skipped" else f"skipped because {name} failed"
        return ""

    def retryable(self, stage: Stage) -> bool:
        """Whether a second attempt at a failed stage may succeed."""
        return stage.name not in self.outcomes or self.outcomes[stage.name].retryable

    def is_unchanged(self, stage: Stage) -> bool:
        """Whether DVC saw no change in the stage, and none of the stages before it has run since."""
        before = all(self.outcomes[name].state == "Unchanged" for name in stage.after)
        return before and not stage.changed and stage.name not in self.force


def task_for(stage: Stage, run: Run) -> Callable[..., State]:
    """The task of `stage`. Only stages that use the network are retried, unless a parameter was wrong."""
    retries: dict[str, Any] = {"retries": RETRIES, "retry_delay_seconds": exponential_backoff(FIRST_WAIT_S)}

    @task(
        name=stage.name,
        task_run_name=stage.name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retry_condition_fn=lambda *_: not run.stop.is_set() and run.retryable(stage),
        **(retries if stage.needs.network else {}),
    )
    def run_stage() -> State:
        outcome = outcome_of(stage, run)
        run.outcomes[stage.name] = outcome
        return outcome.as_state()

    return run_stage


def outcome_of(stage: Stage, run: Run) -> Outcome:
    if why := run.why_not(stage):
        return Outcome("Stopped" if run.stop.is_set() else "Skipped", why=why)
    if run.is_unchanged(stage):
        return Outcome("Unchanged")
    options = ["--force"] * (stage.name in run.force)
    repeat = shlex.join(["dvc", "repro", "--single-item", *options, stage.name])
    options += ["--pull"] * run.pulls()
    with (
        run.cores.take(stage.needs.cpu, run.stop),
        resources.take_gpus(stage.needs.gpu, run.gpus, run.stop) as (gpus, held),
    ):
        env = os.environ | resources.visible(gpus, run.gpus)
        return reproduce_logged(options, stage, run, env, held, repeat)


def reproduce_logged(
    options: Sequence[str], stage: Stage, run: Run, env: dict[str, str], held: Sequence[int], repeat: str
) -> Outcome:
    """Reproduce `stage` with its output in the log and its progress in an artifact."""
    since = time.monotonic()
    limit_s = stage.needs.hours and stage.needs.hours * 3600
    while True:
        log = _Log(stage.name)
        try:
            with tempfile.TemporaryDirectory(prefix="openo3-") as folder:
                file = Path(folder, "outcome")
                status = command.run(
                    [sys.executable, "-P", str(DVC_REPRO), stage.name, str(file), *options],
                    run.pipeline.root, env, stop=run.stop, limit_s=limit_s,
                    on_line=log.line, on_progress=log.progress, held=held,
                )  # fmt: skip
                outcome = file.read_text() if file.exists() else ""
        except command.Stopped as stopped:
            log.show(final=True)
            if run.stop.is_set():
                return Outcome("Stopped", time.monotonic() - since, "stopped with the run")
            return Outcome("Failed", time.monotonic() - since, f"{stage.name} {stopped}; again: `{repeat}`")
        log.show(final=True)
        seconds = time.monotonic() - since
        if status == 0:
            return Outcome(outcome, seconds)
        if outcome == "Busy" and not run.stop.wait(
            graph.RETRY_S
        ):  # `dvc` started by hand works on the same files
            continue
        tail = "\n".join(log.tail)
        retryable = not any(WRONG_PARAMETERS.search(line) for line in log.tail)
        why = (
            f"{stage.name} failed with exit status {status} after {seconds:.0f} s. Its last lines:\n\n{tail}"
        )
        return Outcome("Failed", seconds, f"{why}\n\nAgain, by hand: `{repeat}`", retryable)


@dataclass
class _Log:
    """Sends lines to the run's log and progress to its artifact, and keeps the last lines."""

    stage: str
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    _progress: Progress = field(default_factory=Progress)
    _artifact: UUID | None = None

    def line(self, line: str) -> None:
        get_run_logger().info(line)
        self.tail.append(line)
        self.progress(line)

    def progress(self, line: str) -> None:
        if self._progress.read(line):
            self.show()

    def show(self, final: bool = False) -> None:
        """Update the artifact. Errors are ignored: a temporary server outage must not end a long stage."""
        if self._progress.percent is None or not (final or self._progress.due()):
            return
        shown = {"progress": self._progress.percent, "description": str(self._progress)}
        with suppress(httpx.HTTPError):
            if self._artifact:
                update_progress_artifact(self._artifact, **shown)
            else:
                key = re.sub(r"[^a-z0-9]+", "-", self.stage.lower()).strip("-")
                artifact: Any = create_progress_artifact(key=key, **shown)
                self._artifact = artifact
