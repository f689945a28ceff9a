"""Run a command under `flows/guard.py` and read its output line by line, as a terminal shows it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
GRACE_S = 10.0
COLUMNS = 160
MAX_CHARACTERS = 4000  # per line
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]")


class Stopped(Exception):
    """The command was stopped before it finished; the message says why."""


def run(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    *,
    stop: threading.Event,
    limit_s: float | None = None,
    on_line: Callable[[str], None],
    on_progress: Callable[[str], None],
    held: Sequence[int] = (),
    grace_s: float = GRACE_S,
) -> int:
    """Run `command` and return its exit status.

    The command writes to a pseudo-terminal, so that its output is unbuffered and progress bars are drawn.
    `on_line` gets complete lines, `on_progress` those that end with a carriage return. `held` are file
    descriptors that stay open until the last process of the command has ended.

    Raises:
        Stopped: after `stop` is set or `limit_s` seconds have passed; all its processes have ended by then.
    """
    terminal, inside = _terminal()
    since = time.monotonic()
    guard = subprocess.Popen(
        [*guarded(grace_s), *command],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        pass_fds=tuple(held),
    )
    os.close(inside)
    stdin = guard.stdin
    assert stdin is not None  # a pipe, see above
    reason = None
    try:
        lines = _Lines(on_line, on_progress)
        while True:
            gone = guard.poll() is not None  # checked before reading, so that no last output is missed
            ready, _, _ = select.select([terminal], [], [], 0 if gone else 0.2)
            if ready and (data := _read(terminal)):
                lines.feed(data)
            elif (
                ready or gone
            ):  # gone but not ready: the guard was killed, and the command still holds the terminal
                break
            if reason is None and stop.is_set():
                reason = "stopped"
            elif reason is None and limit_s is not None and time.monotonic() - since > limit_s:
                reason = f"took longer than its time limit of {limit_s:,.0f} s"
            if reason is not None and not stdin.closed:
                stdin.close()
        lines.end()
    finally:
        stdin.close()
        os.close(terminal)
        status = guard.wait()
        if status < 0:  # the guard itself was killed: end the rest of its session
            with suppress(ProcessLookupError):
                os.killpg(guard.pid, signal.SIGKILL)
    if reason is not None:
        raise Stopped(reason)
    return status if status >= 0 else 128 - status


def guarded(grace_s: float = GRACE_S) -> list[str]:
    """The command prefix that makes a command end when the pipe on its standard input closes."""
    return [sys.executable, str(GUARD), str(grace_s)]


def _terminal() -> tuple[int, int]:
    outside, inside = pty.openpty()
    attributes = termios.tcgetattr(inside)
    attributes[1] &= ~termios.OPOST  # keep line ends as written
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(inside, termios.TCSANOW, attributes)
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    return outside, inside


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux reports EIO when the last writer has closed it
        return b""


class _Lines:
    """Splits a stream of bytes at line feeds and carriage returns."""

    def __init__(self, on_line: Callable[[str], None], on_progress: Callable[[str], None]) -> None:
        self.on_line, self.on_progress, self.rest = on_line, on_progress, b""

    def feed(self, data: bytes) -> None:
        *pieces, self.rest = re.split(rb"(\r\n|\n|\r)", self.rest + data)
        for text, end in zip(pieces[::2], pieces[1::2], strict=True):
            self._emit(text, self.on_progress if end == b"\r" else self.on_line)
        if len(self.rest) > 16 * MAX_CHARACTERS:
            self.end()

    def end(self) -> None:
        self._emit(self.rest, self.on_line)
        self.rest = b""

    @staticmethod
    def _emit(text: bytes, to: Callable[[str], None]) -> None:
        line = ESCAPES.sub("", text.decode(errors="replace")).rstrip()
        if line:
            to(line if len(line) <= MAX_CHARACTERS else f"{line[:MAX_CHARACTERS]} ...")
