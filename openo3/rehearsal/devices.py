"""The GPUs of this machine, and how fast each multiplies matrices: `python -m openo3.rehearsal.devices`.

It runs in a process of its own, whose memory on the GPUs is free again before a stage starts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

SIDE = 8192


@dataclass(frozen=True)
class Device:
    """A GPU with its memory and the TFLOP/s of one large product in bfloat16: the most a stage can reach."""

    name: str
    memory_bytes: int
    tflops: float


class DeviceError(RuntimeError):
    """Why the GPUs cannot be used; one line."""


def devices() -> list[Device]:
    """The GPUs that torch sees; none on a machine without.

    Raises `DeviceError` with one line where torch sees them and cannot compute on them.
    """
    if not (shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists()):
        return []
    command = [sys.executable, "-m", "openo3.rehearsal.devices"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise DeviceError(f"torch cannot use the GPUs: {done.stderr.strip().splitlines()[-1][:300]}")
    return [Device(**found) for found in json.loads(done.stdout.splitlines()[-1])]


def main() -> None:
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        with torch.cuda.device(index):
            one, other = torch.randn(2, SIDE, SIDE, device="cuda", dtype=torch.bfloat16).unbind(0)
            seconds = []
            for _ in range(13):
                torch.cuda.synchronize()
                start = time.perf_counter()
                torch.matmul(one, other)
                torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
            found.append(
                {
                    "name": torch.cuda.get_device_name(index),
                    "memory_bytes": torch.cuda.get_device_properties(index).total_memory,
                    "tflops": 2 * SIDE**3 / median(seconds[3:]) / 1e12,
                }
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
