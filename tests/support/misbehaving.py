"""Jobs that misbehave as untrusted files make decoders misbehave; workers must survive them."""

import ctypes
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from openo3.media.isolated import extend_time_limit
from openo3.media.probe import MediaError


def job(name: str) -> str:
    match name:
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "sleep":
            time.sleep(100)
        case "spin in C":
            sum(range(10**12))
        case "child that hangs":
            subprocess.run(["sleep", "98765"], check=False)
        case "cut result":
            os.write(
                int(sys.argv[-1]), struct.pack("!i", 1000) + b"half"
            )  # as if killed while sending its result
            os._exit(4)
        case "unexpected":
            raise KeyError("surprise")
        case "more time":
            extend_time_limit(10.0)
            time.sleep(1.0)
        case "rejected":
            raise MediaError("damaged", "somewhere")
    return name.upper()


def busy_then_quick(name: str) -> str:
    """Hang on the first call for each path."""
    if not os.path.isabs(name):
        return name.upper()
    if not Path(name).exists():
        Path(name).touch()
        time.sleep(100)
    return "second try"


def probe_that_crashes(path: Path, time_limit_s: float) -> None:
    """In the place of `openo3.media.probe.probe`, as a demuxer crashes on a broken file."""
    os.abort()
