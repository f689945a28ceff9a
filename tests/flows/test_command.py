"""No process outlives its caller, whichever process is killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from flows import command
from flows.command import Stopped
from tests.flows.small_pipeline import until
from tests.support.checkout import ROOT
from tests.support.processes import living

# a worker in its own session, as accelerate starts them, orphaned because its parent has exited
FAMILY = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", '''
import subprocess
subprocess.Popen(["sleep", "97531"], start_new_session=True)
''']).wait()
print("ready", flush=True)
time.sleep(97530)
"""
STUBBORN = """
import signal, time
for asked in (signal.SIGTERM, signal.SIGINT):
    signal.signal(asked, signal.SIG_IGN)
print("ready")
time.sleep(97532)
"""
HOLDER = """
import os, sys, threading
from pathlib import Path
from flows import command
command.run([sys.executable, "-c", sys.argv[1]], Path.cwd(), os.environ, stop=threading.Event(),
            on_line=lambda line: print(line, flush=True), on_progress=print)
"""


def run(source, folder, stop=None, on_line=lambda _: None, on_progress=lambda _: None, **options):
    return command.run(
        [sys.executable, "-c", source], folder, os.environ, stop=stop or threading.Event(),
        on_line=on_line, on_progress=on_progress, **options,
    )  # fmt: skip


def test_lines_are_streamed_and_progress_is_reported_separately(tmp_path):
    lines, progress, seen = [], [], []
    source = (
        "import time; print('\\x1b[31mfirst\\x1b[0m'); time.sleep(0.5)\n"
        "print('10%', end='\\r'); print('20%', end='\\r'); print('x' * 9000); raise SystemExit(7)"
    )

    def line(text):
        lines.append(text)
        seen.append(time.monotonic())

    assert run(source, tmp_path, on_line=line, on_progress=progress.append) == 7
    assert lines[0] == "first"
    assert seen[1] - seen[0] > 0.4
    assert progress == ["10%", "20%"]
    assert len(lines[1]) < 5000


def test_a_command_killed_by_a_signal_names_the_signal(tmp_path):
    assert run("import os; os.kill(os.getpid(), 9)", tmp_path) == 128 + 9


def test_leftover_processes_end_with_their_command(tmp_path):
    assert run(FAMILY.replace("time.sleep(97530)", ""), tmp_path) == 0
    assert living(tmp_path) == []


def test_stopping_a_command_ends_its_process_tree(tmp_path):
    stop = threading.Event()
    with pytest.raises(Stopped, match="stopped"):
        run(FAMILY, tmp_path, stop, on_line=lambda _: stop.set())
    assert living(tmp_path) == []


def test_a_time_limit_ends_the_process_tree(tmp_path):
    with pytest.raises(Stopped, match="time limit of 1 s"):
        run(FAMILY, tmp_path, limit_s=1)
    assert living(tmp_path) == []


@pytest.mark.slow
def test_a_process_that_ignores_sigterm_is_killed(tmp_path):
    stop = threading.Event()
    since = time.monotonic()
    with pytest.raises(Stopped):
        run(STUBBORN, tmp_path, stop, grace_s=1, on_line=lambda _: stop.set())
    assert time.monotonic() - since > 1
    assert living(tmp_path) == []


@pytest.fixture
def family(tmp_path):
    """A process that starts the process tree; the processes of the tree are found by their folder."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, FAMILY], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "ready\n"
    yield holder
    holder.kill()
    holder.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killing_the_caller_ends_the_process_tree(family, tmp_path, how):
    assert len(living(tmp_path)) >= 4  # the holder, its guard, the command, its worker
    family.send_signal(how)
    family.wait()
    until(lambda: not living(tmp_path), wait_s=10)


def test_kill_9_of_the_guard_ends_the_command(family, tmp_path):
    (guard,) = [p for p in living(tmp_path) if str(command.GUARD) in p.cmdline()]
    guard.kill()
    assert family.wait(timeout=20) == 0
    assert [p for p in living(tmp_path) if "97530" in " ".join(p.cmdline())] == []
    for orphan in living(tmp_path):  # the worker's own session cannot be reached then
        orphan.kill()


def test_kill_9_of_the_command_ends_its_workers(family, tmp_path):
    (asked,) = [p for p in living(tmp_path) if p.cmdline()[1:2] == ["-c"] and p.cmdline()[2] == FAMILY]
    asked.kill()
    assert family.wait(timeout=20) == 0
    assert living(tmp_path) == []
