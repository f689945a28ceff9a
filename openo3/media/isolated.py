"""Run a function on files that may crash or hang its process.

    with opened("local") as (executor, slots):
        for job, result in each(decode_one, jobs, executor, slots, time_limit_s=60):
            ...  # a result, or the MediaError of this one job

Decoders written in C can crash or hang on broken files. Each job therefore runs in a process of its own,
started by a thread of an executor (`openo3.executors`). A process that dies or exceeds its time limit costs
its own job and is replaced.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from functools import cache
from itertools import islice
from multiprocessing.connection import Connection, Pipe
from threading import Lock
from typing import Any, TypeVar

from openo3.media.probe import TOO_SLOW, MediaError

Job = TypeVar("Job")
Result = TypeVar("Result")

_AHEAD = 64
"""Jobs that may be finished before the oldest is, beyond those under way; bounds the results in memory."""

_IDLE_S = 60.0
"""Idle processes exit after so long: nobody stops those of a cluster's workers."""


def each(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    executor: Executor,
    slots: int,
    time_limit_s: float,
) -> Generator[tuple[Job, Result | MediaError], None, None]:
    """Yield every job with its result, in the order of `jobs`, whatever order they end in.

    `executor` runs `slots` calls at once. `function` is found by its name in another process, so it must be
    defined at the top of a module. An exception in it other than `MediaError` ends its process, with a
    traceback on standard error, and counts as a crash of that job: `MediaError("decoder crashed", ...)`; an
    overrun is `MediaError("too slow", ...)`.

    A job that was too slow is tried again while no other job runs, so that a busy machine rejects nothing.
    """
    processes = Processes()
    waiting = iter(jobs)
    given: deque[tuple[Job, Future]] = deque()
    try:
        while True:
            for job in islice(waiting, _AHEAD + slots - len(given)):
                given.append((job, executor.submit(processes.call, function, job, time_limit_s)))
            if not given:
                return
            job, future = given.popleft()
            result = future.result()
            if isinstance(result, MediaError) and result.reason == TOO_SLOW:
                wait([other for _, other in given])
                result = executor.submit(processes.call, function, job, time_limit_s).result()
            yield job, result
    finally:
        for _, future in given:
            future.cancel()
        processes.stop()


def extend_time_limit(seconds: float) -> None:
    """Give the job that runs in this process at least `seconds` from now, if it has a time limit."""
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    if 0 < left < seconds:
        signal.setitimer(signal.ITIMER_REAL, seconds)


class Processes:
    """Processes for any number of threads: a call takes an idle one or starts another."""

    def __init__(self) -> None:
        self._lock, self._stopped = Lock(), False
        self._all: set[_Process] = set()
        self._idle: list[_Process] = []

    def __reduce__(self) -> tuple[Callable[[], Processes], tuple[()]]:
        """Unpickled on a cluster's worker, it stands for that worker's own processes."""
        return _of_this_process, ()

    def call(self, function: Callable[[Job], Result], job: Job, time_limit_s: float) -> Result | MediaError:
        """What `function(job)` returns, or the `MediaError` that it raises or causes."""
        process = self._take()
        while not process.accepts(function, job, time_limit_s):
            self._forget(process)
            if not process.used:
                raise RuntimeError(f"no process for {function} starts, see standard error")
            process = self._take()
        alive, result = process.result(time_limit_s)
        with self._lock:
            if alive and not self._stopped:
                self._idle.append(process)
                return result
        self._forget(process)
        return result

    def stop(self) -> None:
        """End all processes, busy or not. Calls in progress return, later ones raise `RuntimeError`."""
        with self._lock:
            self._stopped = True
            for process in self._all:
                process.kill()
        for process in self._idle:
            self._forget(process)

    def _take(self) -> _Process:
        with self._lock:
            if self._stopped:
                raise RuntimeError("stopped")
            if self._idle:
                return self._idle.pop()
            process = _Process()
            self._all.add(process)
            return process

    def _forget(self, process: _Process) -> None:
        process.close()
        with self._lock:
            self._all.discard(process)


@cache
def _of_this_process() -> Processes:
    return Processes()


class _Process:
    """The parent's side of one process.

    A fresh Python rather than `multiprocessing.Process`: forking a process that has threads can deadlock, and
    spawning runs the caller's main script again.
    """

    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            process_group=0,  # so that `kill` reaches its children too
        )
        theirs.close()
        self.used = False

    def accepts(self, *job: Any) -> bool:
        """Hand a job over. False if the process is gone, which is not the job's fault."""
        try:
            self.pipe.send(job)
            self.used |= self.pipe.recv()
        except (EOFError, OSError):
            return False
        return True

    def result(self, time_limit_s: float) -> tuple[bool, Any]:
        """Whether the process is still alive, and the result."""
        try:
            return True, self.pipe.recv()
        except (EOFError, OSError):  # a message that is cut in the middle too
            code = self.process.wait()
        if code == -signal.SIGALRM:
            return False, MediaError(TOO_SLOW, f"not done within time_limit_s ({time_limit_s:g} s)")
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return False, MediaError("decoder crashed", how)

    def kill(self) -> None:
        """End the process and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self.process.wait()
        self.pipe.close()


def _serve(pipe: Connection) -> None:
    """The child's side: run one job after another until the parent is gone or idle for long."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while pipe.poll(_IDLE_S):
        try:
            function, job, time_limit_s = pipe.recv()
        except EOFError:
            return
        pipe.send(True)
        signal.setitimer(signal.ITIMER_REAL, time_limit_s)  # the kernel also ends a hang in C code
        try:
            result = function(job)
        except MediaError as error:
            result = error
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send(result)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
