"""Workers that crash, hang or raise cost one job each."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openo3.media.isolated import each
from tests.misbehaving import job

BAD = {
    "segfault": ("decoder crashed", "SIGSEGV"),
    "abort": ("decoder crashed", "SIGABRT"),
    "exit": ("decoder crashed", "exit status 3"),
    "unexpected": ("decoder crashed", "exit status 1"),
    "rejected": ("damaged", "somewhere"),
    "sleep": ("too slow", "not done within 1 s"),
    "spin in C": ("too slow", "not done within 1 s"),
    "child that hangs": ("too slow", "not done within 1 s"),
}


def test_each_bad_job_costs_itself_alone():
    jobs = ["first"]
    for name in BAD:
        jobs += [name, f"after {name}"]
    results = list(each(job, jobs, workers=2, time_limit_s=1.0))
    assert [name for name, _ in results] == jobs, "in the order of the jobs"
    for name, result in results:
        if name in BAD:
            assert (result.reason, result.detail) == BAD[name]
        else:
            assert result == name.upper()
    assert subprocess.run(["pgrep", "-f", "^sleep 98765"], stdout=subprocess.DEVNULL).returncode == 1


def test_many_jobs_few_workers():
    jobs = [str(number) for number in range(300)]
    assert list(each(job, jobs, workers=2, time_limit_s=10.0)) == [(name, name) for name in jobs]


def test_nothing_to_do():
    assert list(each(job, [], workers=2, time_limit_s=1.0)) == []


def test_leaving_early_ends_the_workers():
    results = each(job, ["a", "sleep", "sleep"], workers=2, time_limit_s=50.0)
    assert next(results) == ("a", "A")
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 5


def test_a_worker_that_cannot_start_is_an_error_not_a_rejection(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="does not start"):
        list(each(job, ["a"], workers=1, time_limit_s=1.0))


def test_the_caller_need_not_be_a_guarded_script(tmp_path: Path):
    """Spawning workers must not run the caller's script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from openo3.media.isolated import each\nfrom tests.misbehaving import job\n"
        "print(list(each(job, ['a'], workers=1, time_limit_s=5.0)))\n"
    )
    command = [sys.executable, script]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[('a', 'A')]\n"


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path):
    script = (
        "from openo3.media.isolated import each\nfrom tests.misbehaving import job\n"
        "for done in each(job, ['a', 'sleep', 'sleep'], workers=2, time_limit_s=2.0): print(done)"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()  # now both sleep
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
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
