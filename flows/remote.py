"""Check in a separate process whether the default DVC remote can be reached.

Each kind of remote raises its own exceptions. Run as a script, any of them ends the process, and the last
line of its traceback is the reason.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TIME_LIMIT_S = 60.0


def why_unreachable(root: Path) -> str:
    """Why the remote of the repository at `root` is unavailable, or an empty string."""
    asked = [sys.executable, __file__]
    try:
        done = subprocess.run(
            asked, cwd=root, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIME_LIMIT_S:g} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def main() -> None:
    from dvc.repo import Repo

    remote = Repo().cloud.get_remote_odb()
    remote.fs.exists(remote.path)


if __name__ == "__main__":
    main()
