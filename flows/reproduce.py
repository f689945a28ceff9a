"""Flow `reproduce`: every stage of `dvc.yaml` as a task, independent stages in parallel.

    python -m flows.reproduce [TARGET ...] [--profile NAME] [--force] [--push]

It checks the whole pipeline once. If nothing changed, nothing is started.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import httpx
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.schemas.objects import State
from prefect.futures import PrefectConcurrentFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import command, graph, parameters, summary
from flows.cleanup import close_tasks
from flows.graph import PipelineError
from flows.locks import CheckoutBusy, checkout_lock, forget_dead_processes
from flows.run_stage import Outcome, Run, task_for
from openo3.cli import profile as profiles


def run_name() -> str:
    """Profile, targets and reason, which distinguish runs in a list."""
    given = flow_run.parameters
    what = given.get("profile") or profiles.active() or "edited parameters"
    targets = ", ".join([*given.get("targets", ()), *filter(None, [given.get("model")])])
    chosen = ", ".join(given.get("benchmarks", ()))
    words = [what, targets, chosen, "forced" if given.get("force") else "", given.get("reason", "by hand")]
    return " · ".join(filter(None, words))


CHECK = Path("stages/check.py")
"""What a checkout has to check all parameters with; it exits with a status after one line."""

OPTIONS = {
    "flow_run_name": run_name,
    "task_runner": ThreadPoolTaskRunner(),
    "persist_result": False,
    "on_crashed": [close_tasks],
    "on_cancellation": [close_tasks],
}


class EndedFuture(PrefectConcurrentFuture):
    """A future that only waits, because Prefect starts no task after a cancelled one, not even to skip it."""

    @property
    def state(self) -> State:
        return Completed(data="ended")


@flow(name="reproduce", **OPTIONS)
def reproduce(
    profile: str | None = None,
    targets: list[str] = [],  # noqa: B006 (Prefect shows the default; nobody changes it)
    force: bool = False,
    push: bool = False,
    reason: str = "by hand",
    notify: str | None = None,
) -> State:
    """Bring the pipeline up to date.

    Args:
        profile: Switch to this parameter set first; the active one if empty.
        targets: Only these stages and what they need; all if empty.
        force: Run the stages even if nothing changed.
        push: Push the outputs to the DVC remote, so that other machines need not compute them again.
        reason: Why it runs; part of the run's name.
        notify: A saved notification block that gets the outcome, for example `custom-webhook/mine`.
    """

    def body() -> State:
        if profile:
            profiles.switch(profile)
        return run_stages(targets, force=None if force else (), push=push)

    return exclusively(body, notify)


def exclusively(body: Callable[[], State], notify: str | None = None) -> State:
    """Run the body of a flow with the checkout locked, then send its state to `notify`."""
    try:
        notifier = _notifier(notify) if notify else None
    except PipelineError as error:
        return Failed(message=str(error))
    try:
        with checkout_lock(Path.cwd(), flow_run.name or "a flow"):
            parameters.restore()
            state = body()
    except CheckoutBusy as error:
        return Cancelled(name="Busy", message=str(error))
    except (PipelineError, profiles.ProfileError) as error:
        state = Failed(message=str(error))
    if notifier:
        _notify(notifier, state)
    return state


def run_stages(targets: Sequence[str], *, force: Collection[str] | None = (), push: bool = False) -> State:
    """Run every stage that `targets` need. Stages in `force` (all for `None`) run even if unchanged."""
    logger = get_run_logger()
    with graph.repository() as repo:
        for freed in forget_dead_processes(repo):
            logger.warning(freed)
        pipeline = graph.read(repo, targets, logger.info)
        run = Run(pipeline, force=force, pull=pipeline.has_remote)
        if run.force or any(stage.changed for stage in pipeline.stages):
            _check_parameters(pipeline.root)
        _submit(run)
        known = summary.remember(pipeline.root, run.outcomes)
        create_markdown_artifact(summary.markdown(repo, run.outcomes, known), key="stages")
    pushed = _push(run) if push else ""
    said = summary.sentence(run.outcomes) + pushed
    failures = [outcome.why for outcome in run.outcomes.values() if outcome.state == "Failed"]
    if failures or pushed.endswith("failed"):
        return Failed(message="\n\n".join([said, *failures]))
    quiet = all(outcome.state == "Unchanged" for outcome in run.outcomes.values())
    return Completed(name="Unchanged" if quiet else "Completed", message=said)


def _check_parameters(root: Path) -> None:
    """Raises `PipelineError` for a mistake in the block of any stage, before the first one runs.

    A stage checks its own block when it starts, which is too late for one that comes after training.
    """
    if not (root / CHECK).is_file():
        return
    said: list[str] = []
    check = [sys.executable, "-m", ".".join(CHECK.with_suffix("").parts)]
    never = threading.Event()  # as in `_push`
    if command.run(check, root, os.environ, stop=never, on_line=said.append, on_progress=said.append):
        raise PipelineError(said[-1] if said else f"{CHECK} failed and says nothing")


def _submit(run: Run) -> None:
    """Submit all stages, each to start after the stages it needs. If the run ends early, all of them end."""
    futures = {}
    try:
        for stage in run.pipeline.stages:
            before = [
                EndedFuture(futures[name].task_run_id, futures[name].wrapped_future) for name in stage.after
            ]
            futures[stage.name] = task_for(stage, run).submit(wait_for=before)
        for future in futures.values():
            future.wait()
    finally:
        run.stop.set()
        for (
            future
        ) in futures.values():  # otherwise the task runner marks tasks without a final state as crashed
            future.wait()
    unknown = "see the log of its task"  # for a task that ended without an outcome
    run.outcomes = {
        stage.name: run.outcomes.get(stage.name, Outcome("Failed", why=f"{stage.name}: {unknown}"))
        for stage in run.pipeline.stages
    }


def _push(run: Run) -> str:
    """Push the outputs of the good stages and the run cache; return a suffix for the summary."""
    if not run.pipeline.has_remote:
        get_run_logger().warning("nothing pushed: this repository has no default DVC remote")
        return ", no remote to push to"
    good = [name for name, outcome in run.outcomes.items() if outcome.good]
    push = [sys.executable, "-m", "dvc", "--wait-for-lock", "push", "--run-cache", *good]
    said: list[str] = []
    status = command.run(
        push,
        run.pipeline.root,
        os.environ,
        stop=threading.Event(),  # cancelling the flow ends this process and the guarded one
        on_line=said.append,
        on_progress=lambda line: None,
    )
    get_run_logger().info("\n".join(said))
    return ", pushed" if status == 0 else ", push failed"


def _notifier(name: str) -> NotificationBlock:
    try:
        block = Block.load(name)
    except (ValueError, RuntimeError) as error:
        raise PipelineError(f"notify: {name}: {' '.join(str(error).split())}") from None
    if not isinstance(block, NotificationBlock):
        raise PipelineError(f"notify: {name}: not a notification block, such as custom-webhook/NAME")
    return block


def _notify(block: NotificationBlock, state: State) -> None:
    """Send the state. A failed notification is logged and does not fail the run."""
    try:
        send: Any = block.notify  # its type hints say that it is async
        send(state.message or "", f"{flow_run.name}: {state.name}")
    except (ValueError, RuntimeError, httpx.HTTPError) as error:
        get_run_logger().warning(f"no notification sent: {error}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--profile")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--push", action="store_true")
    run: Any = reproduce  # Prefect adds `return_state` to the call
    state = run(**vars(parser.parse_args()), return_state=True)
    print(f"{state.name}: {state.message}")
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
