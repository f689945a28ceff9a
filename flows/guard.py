"""Run a command, and kill its process tree when the caller exits.

    python flows/guard.py GRACE_S COMMAND ...

When standard input closes (on purpose, or because the caller was killed), every process of the tree is
asked to end, and killed after GRACE_S seconds. This includes children with a session of their own, such as
the workers of `accelerate launch`: the guard adopts the children of children that died.
The exit status is the command's, or 128 + the number of the signal that ended it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

import psutil

PR_SET_CHILD_SUBREAPER = 36


def main(grace_s: float, command: list[str]) -> int:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked, lambda *_: None)  # wakes the loop below
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pid = subprocess.Popen(command, stdin=subprocess.DEVNULL).pid
    status = None
    while status is None:
        ready, _, _ = select.select([sys.stdin, woken], [], [])
        stop = sys.stdin in ready or (woken in ready and set(os.read(woken, 4096)) - {signal.SIGCHLD})
        status = _reaped(pid)
        if stop:
            break
    ended = _end(pid, grace_s)
    return status if status is not None else ended


def _reaped(pid: int) -> int | None:
    """Collect every child that ended; the exit status of `pid` if it is among them."""
    status = None
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == pid:
                code = os.waitstatus_to_exitcode(ended[1])
                status = code if code >= 0 else 128 - code
    except ChildProcessError:
        pass
    return status


def _end(pid: int, grace_s: float) -> int:
    """End every descendant, by SIGKILL after the grace period, and return the exit status of `pid`.

    DVC (`pid`) gets SIGINT, which it handles except while a stage's command runs. That command ends by
    SIGTERM; DVC then fails the stage and releases its locks.
    """
    deadline = time.monotonic() + grace_s
    asked: set[int] = set()
    status = 128 + signal.SIGKILL
    while True:
        ended = _reaped(pid)
        status = status if ended is None else ended
        living = psutil.Process().children(recursive=True)
        if not living:
            return status
        late = time.monotonic() > deadline
        for process in living:
            if late or process.pid not in asked:
                asked.add(process.pid)
                try:
                    polite = signal.SIGINT if process.pid == pid else signal.SIGTERM
                    process.send_signal(signal.SIGKILL if late else polite)
                except psutil.NoSuchProcess:
                    continue
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
