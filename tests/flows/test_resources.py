"""No core or GPU is allocated twice."""

import os
import subprocess
import sys
import threading
import time

import pytest

from flows import resources
from flows.resources import Cores, Gpu, take_gpus, visible
from tests.support.checkout import ROOT

TWO = [Gpu("0", f"test-a-{os.getpid()}"), Gpu("1", f"test-b-{os.getpid()}")]
TAKE = """
import sys, threading
from flows.resources import Gpu, take_gpus
with take_gpus("all", [Gpu("0", sys.argv[1])], threading.Event()) as (taken, held):
    print(len(taken), flush=True)
    sys.stdin.read()
"""


def test_cores_are_allocated_and_a_request_for_more_gets_all():
    cores, most, at_once, lock = Cores(2), 0, 0, threading.Lock()

    def work(count):
        nonlocal most, at_once
        with cores.take(count, threading.Event()):
            with lock:
                at_once += min(count, 2)
                most = max(most, at_once)
            time.sleep(0.02)
            with lock:
                at_once -= min(count, 2)

    threads = [threading.Thread(target=work, args=(count,)) for count in (1, 1, 2, 9, 1, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_a_gpu_belongs_to_one_process_of_the_machine_until_that_ends(monkeypatch):
    monkeypatch.setattr(resources, "RETRY_S", 0.05)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    other = subprocess.Popen(
        [sys.executable, "-c", TAKE, TWO[0].uuid], env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout.readline() == "1\n"
    with take_gpus(1, TWO, threading.Event()) as (taken, held):
        assert (taken, len(held)) == ([TWO[1]], 1)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with take_gpus("all", TWO, stop) as (taken, _):
        assert taken == []  # stopped while waiting
    other.kill()
    other.wait()
    with take_gpus("all", TWO, threading.Event()) as (taken, _):
        assert taken == TWO


def test_a_gpu_stays_allocated_while_a_process_of_the_stage_runs(monkeypatch):
    monkeypatch.setattr(resources, "RETRY_S", 0.05)
    with take_gpus(1, TWO[:1], threading.Event()) as (_, held):
        child = subprocess.Popen(["sleep", "60"], pass_fds=held)
    stop = threading.Event()
    stop.set()
    with take_gpus(1, TWO[:1], stop) as (taken, _):
        assert taken == []
    child.kill()
    child.wait()
    with take_gpus(1, TWO[:1], stop) as (taken, _):
        assert taken == TWO[:1]


def test_a_machine_without_gpus_does_not_wait():
    with take_gpus("all", [], threading.Event()) as (taken, held):
        assert (taken, held) == ([], [])
    assert visible([], []) == {}


@pytest.mark.parametrize(("setting", "found"), [(None, ["0", "1"]), ("1", ["1"]), ("GPU-x", ["0"]), ("", [])])
def test_gpus_are_those_listed_by_nvidia_smi_and_visible_to_cuda(tmp_path, monkeypatch, setting, found):
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho '0, GPU-x'\necho '1, GPU-y'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if setting is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    assert [gpu.index for gpu in resources.gpus()] == found
