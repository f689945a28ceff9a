"""A video of a video site, fetched with yt-dlp. Its size and digest are unknown until it is downloaded."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from openo3.fetch.http import shown
from openo3.fetch.limits import GB, Limits
from openo3.fetch.plan import Unavailable, Unfinished

_TIME_LIMIT_S = 6 * 3600.0
_TRANSIENT = re.compile(r"HTTP Error (429|5\d\d)|timed? ?out|[Cc]onnection|Temporary failure")


@dataclass(frozen=True)
class SiteVideo:
    url: str
    limits: Limits = field(default_factory=Limits, repr=False, compare=False)

    size = traffic = sha256 = crc32 = None
    resumable = False

    @property
    def name(self) -> str:
        return self.url if "?v=" in self.url else shown(self.url)

    @property
    def address(self) -> str:
        return self.name

    @property
    def identity(self) -> str:
        return self.url

    def stream(self, start: int = 0, end: int | None = None) -> BinaryIO:
        """Download the video and open it.

        Raises `Unfinished` for a transient error and `Unavailable` for any other, with yt-dlp's message.
        """
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "yt_dlp",
                "--quiet",
                "--no-warnings",
                "--no-playlist",
                "--format",
                "mp4",
            ]
            command += ["--socket-timeout", f"{self.limits.stall_s:g}", "--retries", str(self.limits.tries)]
            command += ["--max-filesize", str(int(self.limits.file_gb * GB))]
            if self.limits.bandwidth_mb_s:  # the limit applies to all threads together
                command += ["--limit-rate", str(int(self.limits.bandwidth_mb_s * 1e6 / self.limits.threads))]
            command += ["--output", f"{folder}/video.mp4", "--", self.url]
            status, errors = _run(command)
            video = Path(folder, "video.mp4")
            if status or not video.exists():
                said = (errors.strip().splitlines() or ["nothing was downloaded"])[-1]
                if _TRANSIENT.search(said):
                    raise Unfinished(f"{self.name}: {said}")
                raise Unavailable("missing", f"{self.name}: {said}")
            return open(video, "rb")


def _run(command: list[str]) -> tuple[int, str]:
    """Exit status and standard error. The command is killed with all its children after `_TIME_LIMIT_S`."""
    with subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            errors = process.communicate(timeout=_TIME_LIMIT_S)[1]
            return process.returncode, errors
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return 1, f"not finished after {_TIME_LIMIT_S / 3600:g} hours"
