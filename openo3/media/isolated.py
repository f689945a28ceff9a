"""Run a function on files that may take its process down with them.

    for job, result in each(decode_one, jobs, workers=2, time_limit_s=60):
        ...  # a result, or the MediaError of this one job

Decoders written in C can crash or hang on broken files. So each worker is a process of its own that has
one job at a time: one that dies, or is stopped by its alarm clock, costs its own job and is replaced.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import TypeVar

from openo3.media.probe import MediaError

Job = TypeVar("Job")
Result = TypeVar("Result")

_AHEAD = 64
"""Jobs that may be finished or under way before the oldest one is; bounds the results in memory."""


def each(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, time_limit_s: float
) -> Iterator[tuple[Job, Result | MediaError]]:
    """Yield every job with its result, in the order of `jobs`, whatever order they end in.

    `function` is found by its name in the worker, so it must be defined at the top of a module. An
    exception in it other than `MediaError` ends its worker, with a traceback on standard error, and counts
    as a crash of that job: `MediaError("decoder crashed", ...)`; an overrun is `MediaError("too slow", ...)`.
    """
    waiting = enumerate(jobs)
    given: dict[int, Job] = {}
    done: dict[int, Result | MediaError] = {}
    busy: dict[Connection, _Worker] = {}
    idle = [_Worker(function, time_limit_s) for _ in range(min(workers, len(jobs)))]
    oldest = 0
    try:
        while True:
            while len(busy) < workers and len(given) < _AHEAD and (following := next(waiting, None)):
                worker = idle.pop() if idle else _Worker(function, time_limit_s)
                busy[worker.pipe] = worker
                given[following[0]] = following[1]
                worker.start(*following)
            if not given:
                return
            for pipe in wait(list(busy)):
                worker = busy.pop(pipe)
                alive, done[worker.number] = worker.result()
                idle += [worker] if alive else []
            while oldest in done:
                yield given.pop(oldest), done.pop(oldest)
                oldest += 1
    finally:
        for worker in [*idle, *busy.values()]:
            worker.stop()


class _Worker:
    """The parent's side of one process.

    A fresh Python rather than `multiprocessing.Process`: forking a process that has threads can deadlock, and
    spawning runs the caller's main script again.
    """

    def __init__(self, function: Callable, time_limit_s: float) -> None:
        self.pipe, theirs = Pipe()
        self.pipe.send((function, time_limit_s))
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            process_group=0,  # so that `stop` reaches its children too
        )
        theirs.close()
        self.function, self.time_limit_s = function, time_limit_s
        self.ready, self.number = False, -1

    def start(self, number: int, job: object) -> None:
        if not self.ready:
            self._greet()
        self.number = number
        with suppress(BrokenPipeError):  # already dead: `result` tells
            self.pipe.send(job)

    def _greet(self) -> None:
        """What goes wrong up to here is no fault of any job."""
        try:
            self.ready = self.pipe.recv()
        except (EOFError, OSError):
            raise RuntimeError(f"a worker for {self.function} does not start, see standard error") from None

    def result(self) -> tuple[bool, object]:
        """Whether the worker lives on, and what came out."""
        try:
            return True, self.pipe.recv()
        except (EOFError, ConnectionResetError):
            code = self.process.wait()
            self.stop()
        if code == -signal.SIGALRM:
            return False, MediaError("too slow", f"not done within {self.time_limit_s:g} s")
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return False, MediaError("decoder crashed", how)

    def stop(self) -> None:
        """End the process and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.pipe.close()


def _serve(pipe: Connection) -> None:
    """The worker's side: one job after the other until the parent is gone."""
    function, time_limit_s = pipe.recv()
    pipe.send(True)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, time_limit_s)  # the kernel ends a hang in C code too
        try:
            result = function(job)
        except MediaError as error:
            result = error
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send(result)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
