"""Measure the overhead of the flows: `dvc repro` against the flow `reproduce`, in one run.

    python -m bench.flows [--repeat 5] [--seconds 30]

A small DVC repository of twelve stages, all unchanged; then two independent stages of 30 s each. The flow's
time is that of somebody who presses Run: from the request to the final state, with the server up as after
`make ui`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
IDLE_S = 4.0  # wait before each measurement, while the server stores the events of the previous run
WORK = """
import hashlib, pathlib, sys, time
end = time.monotonic() + float(sys.argv[2])
digest = hashlib.sha256()
while time.monotonic() < end:
    for _ in range(8):
        digest.update(bytes(2**18))
    time.sleep(0.02)
pathlib.Path(sys.argv[1]).write_text(sys.argv[1])
"""


def write_repository(folder: Path, seconds: float) -> None:
    """Twelve quick stages (a chain and a fan, as in this pipeline) and the two long ones."""
    (folder / "work.py").write_text(WORK)
    after = (
        {f"s{k}": [f"s{k - 1}"] for k in range(1, 6)} | {f"s{k}": ["s5"] for k in range(6, 12)} | {"s0": []}
    )
    stages = {
        name: {
            "cmd": f"python work.py {name}.txt 0",
            "deps": ["work.py", *(f"{before}.txt" for before in befores)],
            "outs": [f"{name}.txt"],
        }
        for name, befores in after.items()
    }
    for name in ("one", "other"):
        stages[name] = {"cmd": f"python work.py {name}.txt {seconds}", "outs": [f"{name}.txt"]}
    with (folder / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=folder, check=True)


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Start the UI as `make ui` does, and set PREFECT_API_URL to its server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for variable in ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"):
        os.environ[variable] = "bench:bench"
    with (folder / "ui.log").open("w") as log:
        command = [sys.executable, "-m", "flows.ui", "--port", str(port), "--no-schedule"]
        ui = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    try:
        from prefect import get_client
        from prefect.exceptions import ObjectNotFound

        while "Prefect:" not in (folder / "ui.log").read_text():
            time.sleep(0.2)
        with get_client(sync_client=True) as client:
            while True:
                try:
                    client.read_deployment_by_name("evaluate/local")
                    break
                except ObjectNotFound:
                    time.sleep(0.2)
        yield
    finally:
        ui.send_signal(signal.SIGTERM)
        ui.wait(60)


def by_flow(*targets: str, force: bool = False) -> str:
    from prefect.deployments import run_deployment

    given = {"targets": list(targets), "force": force}
    run: Any = run_deployment("reproduce/local", parameters=given, poll_interval=0.1, timeout=600)
    return f"{run.state.name}: {run.state.message}"


def by_dvc(folder: Path, *arguments: str) -> str:
    subprocess.run(["dvc", "repro", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return ""


def seconds_of(work: Callable[[], str], repeat: int) -> float:
    taken = []
    for _ in range(repeat):
        time.sleep(IDLE_S)
        since = time.perf_counter()
        said = work()
        taken.append(time.perf_counter() - since)
        if "failed" in said or said.startswith("Crashed"):
            raise SystemExit(said)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="of the unchanged runs; their median counts")
    parser.add_argument("--seconds", type=float, default=30, help="that each of the two stages takes")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["OMP_NUM_THREADS"] = "1"
    table = Table("", "dvc repro", "flow", "")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["PREFECT_HOME"] = str(folder / ".cache/prefect")
        os.environ["DVC_SITE_CACHE_DIR"] = str(folder / "site")
        write_repository(folder, given.seconds)
        two = seconds_of(lambda: by_dvc(folder, "one", "other"), 1)
        by_dvc(folder)
        with serving(folder):
            by_flow()
            flow = seconds_of(by_flow, given.repeat)
            dvc = seconds_of(lambda: by_dvc(folder), given.repeat)
            table.add_row("14 stages, none changed", f"{dvc:.1f} s", f"{flow:.1f} s", f"{flow / dvc:.1f} x")
            flow = seconds_of(lambda: by_flow("one", "other", force=True), 1)
        over = f"{flow - given.seconds:.1f} s over one of them"
        table.add_row(f"two stages of {given.seconds:.0f} s", f"{two:.1f} s", f"{flow:.1f} s", over)
    Console().print(table)


if __name__ == "__main__":
    main()
