"""A worker that crashes, hangs or raises affects its own job only."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openo3.executors import opened
from openo3.media import isolated
from openo3.media.isolated import each
from tests.support.misbehaving import busy_then_quick, job
from tests.support.processes import living

BAD = {
    "segfault": ("decoder crashed", "SIGSEGV"),
    "abort": ("decoder crashed", "SIGABRT"),
    "exit": ("decoder crashed", "exit status 3"),
    "cut result": ("decoder crashed", "exit status 4"),
    "unexpected": ("decoder crashed", "exit status 1"),
    "rejected": ("damaged", "somewhere"),
    "sleep": ("too slow", "not done within time_limit_s (1 s)"),
    "spin in C": ("too slow", "not done within time_limit_s (1 s)"),
    "child that hangs": ("too slow", "not done within time_limit_s (1 s)"),
}


@pytest.fixture
def two():
    with opened("local", 2) as found:
        yield found


def test_a_bad_job_affects_no_other(two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # by which its processes are found
    jobs = ["first"]
    for name in BAD:
        jobs += [name, f"after {name}"]
    results = list(each(job, jobs, *two, time_limit_s=1.0))
    assert [name for name, _ in results] == jobs, "in the order of the jobs"
    for name, result in results:
        if name in BAD:
            assert (result.reason, result.detail) == BAD[name]
        else:
            assert result == name.upper()
    deadline = time.monotonic() + 10  # a killed process may take a moment on a busy machine
    while "sleep" in (left := {process.name() for process in living(tmp_path)}):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_slow_job_is_retried_alone(two, tmp_path):
    """The job succeeds once the machine is no longer busy."""
    results = list(each(busy_then_quick, [str(tmp_path / "a"), "b", "c"], *two, time_limit_s=1.0))
    assert [result for _, result in results] == ["second try", "B", "C"]


def test_a_job_may_get_more_time(two):
    assert list(each(job, ["more time"], *two, time_limit_s=0.5)) == [("more time", "MORE TIME")]


def test_few_workers_process_many_jobs(two):
    jobs = [str(number) for number in range(300)]
    assert list(each(job, jobs, *two, time_limit_s=10.0)) == [(name, name) for name in jobs]


def test_no_jobs_give_no_results(two):
    assert list(each(job, [], *two, time_limit_s=1.0)) == []


def test_results_wait_for_the_oldest_in_bounded_number(two):
    """A hanging job delays the results behind it; meanwhile only a bounded number of jobs is started."""
    begun = []
    jobs = (begun.append(name) or name for name in ["spin in C", *map(str, range(500))])
    results = each(job, jobs, *two, time_limit_s=0.5)
    assert next(results)[1].reason == "too slow"
    assert len(begun) < 100
    assert len(list(results)) == 500


def test_closing_the_results_early_ends_the_workers():
    with opened("local", 2) as (executor, slots):
        results = each(job, ["a", "sleep", "sleep"], executor, slots, time_limit_s=50.0)
        assert next(results) == ("a", "A")
        started = time.monotonic()
        results.close()
    assert time.monotonic() - started < 5


def test_a_worker_that_cannot_start_is_an_error_not_a_rejection(monkeypatch, two):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"no process for .* starts"):
        list(each(job, ["a"], *two, time_limit_s=1.0))


def test_a_process_that_exited_when_idle_is_replaced():
    processes = isolated.Processes()
    assert processes.call(job, "a", 5.0) == "A"
    (idle,) = processes._idle
    idle.kill()
    idle.process.wait()
    assert processes.call(job, "b", 5.0) == "B"
    processes.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        processes.call(job, "c", 5.0)


def test_an_idle_process_exits(monkeypatch):
    command = (
        "import openo3.media.isolated as i, sys; i._IDLE_S = 0.2; i._serve(i.Connection(int(sys.argv[1])))"
    )
    ours, theirs = isolated.Pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", command, str(theirs.fileno())], pass_fds=[theirs.fileno()]
    )
    ours.send((job, "a", 5.0))
    assert (ours.recv(), ours.recv()) == (True, "A")
    assert process.wait(timeout=30) == 0


def test_unpickled_processes_belong_to_the_process():
    sent = [pickle.loads(pickle.dumps(isolated.Processes())) for _ in range(2)]
    assert sent[0] is sent[1]


def test_the_caller_need_not_be_a_guarded_script(tmp_path: Path):
    """Spawning workers must not run the caller's script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from openo3.executors import opened\nfrom openo3.media.isolated import each\n"
        "from tests.support.misbehaving import job\n"
        "with opened('local', 1) as found: print(list(each(job, ['a'], *found, time_limit_s=5.0)))\n"
    )
    command = [sys.executable, script]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[('a', 'A')]\n"


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path):
    script = (
        "from openo3.executors import opened\nfrom openo3.media.isolated import each\n"
        "from tests.support.misbehaving import job\n"
        "with opened('local', 2) as found:\n"
        "    for done in each(job, ['a', 'sleep', 'sleep'], *found, time_limit_s=2.0): print(done)"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()  # now both processes are asleep
        threads = Path(f"/proc/{parent.pid}/task").glob("*/children")
        children = [pid for listed in threads for pid in listed.read_text().split()]
        assert len(children) == 2
        parent.kill()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
