"""Starting a stage in the folder of a rehearsal, and how much memory of the machine it takes meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from openo3.files.import_closure import ROOT
from openo3.rehearsal.probe import Probe
from openo3.rehearsal.trace import Trace, read_traces

EVERY_S = 0.5


class StageFailed(RuntimeError):
    """A stage did not end as a rehearsal expects; one line with its reason and its log."""


@dataclass(frozen=True)
class Ran:
    """What a stage took: `seconds` from its launch to its end, the most bytes of memory of all its processes
    at one moment, and their traces (none without a probe)."""

    seconds: float
    memory_bytes: int
    traces: Sequence[Trace] = ()


def run_stage(folder: Path, stage: str, *arguments: str, limit_s: float) -> Ran:
    """Run `stages.NAME` in `folder` as `dvc repro` would, with `python`.

    Raises `StageFailed` with the last line of its log.
    """
    name = " ".join((stage, *arguments))
    command = ["python", "-m", f"stages.{stage}", *arguments]
    return _finished(*_run(folder, command, folder / f"logs/{stage}.log", limit_s), name)


def run_probed(
    folder: Path, launcher: Sequence[str], probe: Probe, stage: str, *arguments: str, limit_s: float
) -> Ran:
    """Run a stage by its launcher under a probe, whose traces go to an empty folder.

    Raises `StageFailed` if a process ended otherwise than the probe's phase does.
    """
    traces = Path(probe.traces)
    traces.mkdir(parents=True)
    file = traces.with_suffix(".probe")
    file.write_text(json.dumps(asdict(probe)))
    command = [*launcher, "-m", "openo3.rehearsal.probe", str(file), f"stages.{stage}", *arguments]
    ran, log, status = _run(folder, command, folder / f"logs/{traces.name}.log", limit_s)
    found = read_traces(traces)
    expected = "stopped" if probe.phase == "interrupted" else "finished"
    if not found or any(trace.ended != expected for trace in found):
        raise StageFailed(_failed(stage, _why(found, expected, status), log))
    return Ran(ran.seconds, ran.memory_bytes, found)


def _why(traces: Sequence[Trace], expected: str, status: int | None) -> str:
    """Why a stage failed, from the traces of its processes or its exit status."""
    other = [trace.ended for trace in traces if trace.ended != expected]
    if "out of memory" in other:
        return "out of memory on a GPU"
    if other:
        return other[0]
    if status == -signal.SIGKILL:
        return "killed, probably because the machine has too little memory"
    return "ended by its time limit" if status is None else f"ended with status {status}"


def _failed(name: str, why: str, log: Path) -> str:
    return f"{name}: {why}: {_last_line(log)} (logs/{log.name}, which --keep DIR keeps)"


def _finished(ran: Ran, log: Path, status: int | None, name: str) -> Ran:
    if status != 0:
        raise StageFailed(_failed(name, _why((), "finished", status), log))
    return ran


def _run(folder: Path, command: Sequence[str], log: Path, limit_s: float) -> tuple[Ran, Path, int | None]:
    """Run a command with its output in `log`; its status is None if it was ended after `limit_s` seconds."""
    log.parent.mkdir(exist_ok=True)
    began, most = time.monotonic(), 0
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(), stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            while process.poll() is None and time.monotonic() - began < limit_s:
                most = max(most, _memory(process.pid))
                time.sleep(EVERY_S)
            status = process.poll()
        finally:
            with suppress(ProcessLookupError):  # the workers of a stage that ended, and on Ctrl-C all of it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Ran(time.monotonic() - began, most), log, status


def _environment() -> Mapping[str, str]:
    """With this checkout's code and this environment's programs first, and not as a stage of DVC."""
    here = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PATH": os.pathsep.join(filter(None, (here, os.environ.get("PATH")))),
        "WANDB_MODE": "disabled",
    }
    environment.pop("DVC_STAGE", None)
    return environment


def _memory(pid: int) -> int:
    """Bytes of a process and its descendants. What several share, as workers do with their parent, counts
    once (PSS)."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += each.memory_full_info().pss
    return total


def _last_line(log: Path) -> str:
    """The last line that says something, without the frames of progress bars."""
    text = log.read_bytes()[-20_000:].decode(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip() and "it/s]" not in line]
    return lines[-1][:200] if lines else "it wrote nothing"
