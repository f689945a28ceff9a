"""Locks of running processes are kept; locks of ended processes are freed."""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from flows import graph
from flows.locks import CheckoutBusy, checkout_lock, forget_dead_processes
from tests.support.checkout import ROOT

HOLD = """
import sys, time
from pathlib import Path
from flows.locks import checkout_lock
with checkout_lock(Path.cwd(), "the other"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_process_holds_the_checkout_lock_until_it_is_killed(tmp_path):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(CheckoutBusy, match=f"the other, process {other.pid}"), checkout_lock(tmp_path, "me"):
        pass
    other.kill()
    other.wait()
    with checkout_lock(tmp_path, "me"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_two_users_of_one_checkout_see_each_other():
    with tempfile.TemporaryDirectory() as folder, checkout_lock(Path(folder), "root"):
        Path(folder).chmod(0o755)  # the folders above pytest's own are closed to others
        other = multiprocessing.get_context("fork").Process(target=_take_as_nobody, args=(Path(folder),))
        other.start()
        other.join(20)
        assert other.exitcode == 0


def _take_as_nobody(folder):
    os.setgid(65534)
    os.setuid(65534)
    with (
        pytest.raises(CheckoutBusy, match="another run is using this checkout: root, process"),
        checkout_lock(folder, "nobody"),
    ):
        pass


@pytest.mark.parametrize("waited_for", [True, False])
def test_rwlocks_of_ended_processes_are_freed_and_others_are_kept(pipeline, waited_for):
    folder = pipeline.folder
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | (0 if waited_for else os.WNOWAIT))
    alive, gone = ({"pid": pid, "cmd": "dvc repro"} for pid in (os.getpid(), dead.pid))
    rwlock = folder / ".dvc/tmp/rwlock"
    held = {
        "write": {f"{folder}/left.txt": gone, f"{folder}/right.txt": alive},
        "read": {f"{folder}/source.txt": [alive, gone], f"{folder}/work.py": [gone]},
    }
    rwlock.write_text(json.dumps(held))
    with graph.repository() as repo:
        freed = forget_dead_processes(repo)
        assert freed == [f"{name} was locked by a process that has ended" for name in ("left.txt", "work.py")]
        assert forget_dead_processes(repo) == []
    kept = {"write": {f"{folder}/right.txt": alive}, "read": {f"{folder}/source.txt": [alive]}}
    assert json.loads(rwlock.read_text()) == kept


def test_a_reused_process_id_holds_no_lock(pipeline):
    rwlock = pipeline.folder / ".dvc/tmp/rwlock"
    with subprocess.Popen(["sleep", "60"]) as later:
        held = {"write": {"left.txt": {"pid": later.pid, "cmd": "dvc repro"}}, "read": {}}
        rwlock.write_text(json.dumps(held))
        os.utime(rwlock, (time.time() - 60,) * 2)
        with graph.repository() as repo:
            assert len(forget_dead_processes(repo)) == 1
        later.kill()
