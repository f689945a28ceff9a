"""One stage as a Prefect task: it waits for its resources, reproduces the stage, and reports what DVC did."""

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

RETRIES, FIRST_WAIT_S = 3, 10.0  # of a stage that uses the network
TAIL = 15  # lines of a failed stage that its state repeats
DVC_REPRO = Path(__file__).with_name("dvc_repro.py")
# DVC keeps the exit status in its message only. If the wording changes, a wrong parameter is retried in vain
WRONG = re.compile(r"failed to run: .*, exited with 2$")


@dataclass(frozen=True)
class Outcome:
    """`state` is one of Ran, Unchanged, Restored, Failed, Skipped, Stopped; `why` explains the last three.
    `may_pass`: a second try may mend it."""

    state: str
    seconds: float = 0.0
    why: str = ""
    may_pass: bool = True

    @property
    def good(self) -> bool:
        return self.state in ("Ran", "Unchanged", "Restored")

    def as_state(self) -> State:
        message = self.why or f"{self.state.lower()}, {self.seconds:.1f} s"
        if self.good:
            return Completed(name=self.state, message=message)
        return (Failed if self.state == "Failed" else Cancelled)(name=self.state, message=message)


class Run:
    """What the stages of one flow run share. `stop` ends all of them."""

    def __init__(self, pipeline: Pipeline, *, force: Collection[str] | None = (), pull: bool = False) -> None:
        names = [stage.name for stage in pipeline.stages]
        self.pipeline, self.force, self._pull = pipeline, names if force is None else force, pull
        self._asking, self._asked = threading.Lock(), False
        self.outcomes: dict[str, Outcome] = {}
        self.stop = threading.Event()
        self.cores, self.gpus = resources.Cores(), resources.gpus()

    def pulls(self) -> bool:
        """Whether to look for a stage's outputs at the remote; asked once, and only if a stage has to run.

        A remote that is away costs what others computed, not the run.
        """
        with self._asking:
            if self._pull and not self._asked and (why := remote.why_away(self.pipeline.root)):
                get_run_logger().warning(f"goes on without the DVC remote: {why}")
                self._pull = False
            self._asked = True
            return self._pull

    def why_not(self, stage: Stage) -> str:
        """Why `stage` cannot start, or nothing."""
        if self.stop.is_set():
            return "the run was stopped"
        for name in stage.after:
            before = self.outcomes[name]
            if not before.good:
                return before.why if before.state == "Skipped" else f"skipped because {name} failed"
        return ""

    def may_pass(self, stage: Stage) -> bool:
        """Whether its failure may be mended by a second try."""
        return stage.name not in self.outcomes or self.outcomes[stage.name].may_pass

    def surely_unchanged(self, stage: Stage) -> bool:
        """DVC saw no change in it, and nothing before it did anything since."""
        before = all(self.outcomes[name].state == "Unchanged" for name in stage.after)
        return before and not stage.changed and stage.name not in self.force


def task_for(stage: Stage, run: Run) -> Callable[..., State]:
    """The task of `stage`. Only the network is worth a second try: neither training is repeated nor what a
    wrong parameter ended."""
    patient = {"retries": RETRIES, "retry_delay_seconds": exponential_backoff(FIRST_WAIT_S)}

    @task(
        name=stage.name,
        task_run_name=stage.name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retry_condition_fn=lambda *_: not run.stop.is_set() and run.may_pass(stage),
        **(patient if stage.needs.network else {}),
    )
    def run_stage() -> State:
        outcome = outcome_of(stage, run)
        run.outcomes[stage.name] = outcome
        return outcome.as_state()

    return run_stage


def outcome_of(stage: Stage, run: Run) -> Outcome:
    if why := run.why_not(stage):
        return Outcome("Stopped" if run.stop.is_set() else "Skipped", why=why)
    if run.surely_unchanged(stage):
        return Outcome("Unchanged")
    options = ["--force"] * (stage.name in run.force)
    repeat = shlex.join(["dvc", "repro", "--single-item", *options, stage.name])
    options += ["--pull"] * run.pulls()
    with (
        run.cores.take(stage.needs.cpu, run.stop),
        resources.take_gpus(stage.needs.gpu, run.gpus, run.stop) as (gpus, held),
    ):
        env = os.environ | resources.visible(gpus, run.gpus)
        return watched(options, stage, run, env, held, repeat)


def watched(
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
            graph.BUSY_S
        ):  # `dvc` started by hand works on the same files
            continue
        tail = "\n".join(log.tail)
        may_pass = not any(WRONG.search(line) for line in log.tail)
        why = (
            f"{stage.name} failed with exit status {status} after {seconds:.0f} s. Its last lines:\n\n{tail}"
        )
        return Outcome("Failed", seconds, f"{why}\n\nAgain, by hand: `{repeat}`", may_pass)


@dataclass
class _Log:
    """Sends lines to the run's log and progress to its artifact; remembers what matters at the end."""

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
        """Bring the artifact up to date; a server that is away for a while must not end hours of work."""
        if self._progress.percent is None or not (final or self._progress.due()):
            return
        shown = {"progress": self._progress.percent, "description": str(self._progress)}
        with suppress(httpx.HTTPError):
            if self._artifact:
                update_progress_artifact(self._artifact, **shown)
            else:
                key = re.sub(r"[^a-z0-9]+", "-", self.stage.lower()).strip("-")
                self._artifact = create_progress_artifact(key=key, **shown)
