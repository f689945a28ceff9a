"""The ffmpeg binary that imageio-ffmpeg ships, and writing a video file with it.

    encode(path, frames, fps=30, size=(160, 120))

The same frames give the same bytes: one encoder thread, bit-exact flags, no time stamps or host names.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np

from openo3.files.artifacts import atomic_file

H264: Mapping[str, object] = {"f": "mp4", "vcodec": "libx264", "preset": "veryfast", "crf": 18}
"""Output options of `encode`, under ffmpeg's own names; every player opens yuv420p H.264 in mp4."""

_REPEATABLE: Mapping[str, object] = {
    "pix_fmt": "yuv420p",
    "threads": 1,
    "fflags": "+bitexact",
    "flags": "+bitexact",
    "sws_flags": "bicubic+accurate_rnd+bitexact",
}


def binary() -> str:
    """Path of the ffmpeg executable (`IMAGEIO_FFMPEG_EXE` overrides the shipped one)."""
    return imageio_ffmpeg.get_ffmpeg_exe()


def check() -> None:
    """Raises `RuntimeError` if ffmpeg cannot be started, which is no fault of a video."""
    try:
        subprocess.run([binary(), "-version"], check=True, capture_output=True, timeout=30)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"ffmpeg cannot be started ({str(error).splitlines()[0]})") from None


def encode(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    size: tuple[int, int],
    options: Mapping[str, object] = H264,
) -> int:
    """Write `frames`, each `[H, W, 3] uint8` RGB, as a video of constant rate; return how many.

    `size` is `(W, H)`, both even, because 4:2:0 chroma halves them. Frame `i` is shown at `i / fps`
    seconds. The file appears under `path` only once it is complete.

    Raises `ValueError` for odd sizes, a frame of another shape or type, or no frame at all, and
    `RuntimeError` with ffmpeg's own words if it fails.
    """
    width, height = size
    if width < 2 or height < 2 or width % 2 or height % 2:
        raise ValueError(f"{path}: H.264 with 4:2:0 chroma needs even sides, got {width}x{height}")
    target = Path(path)
    rate = Fraction(fps).limit_denominator(1001)
    with atomic_file(target) as part:
        command = (
            ffmpeg.input("pipe:", f="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=str(rate))
            .output(f"file:{part}", **{**_REPEATABLE, **options})
            .global_args("-loglevel", "error", "-nostdin")
            .overwrite_output()
            .compile(cmd=binary())
        )
        return _pipe(command, frames, (height, width, 3), target)


def _pipe(command: list[str], frames: Iterable[np.ndarray], shape: tuple[int, ...], target: Path) -> int:
    """Feed the frames to `command`; errors go to a file, since a full pipe would stop ffmpeg."""
    count = 0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors)
        assert process.stdin is not None  # a pipe
        try:
            for frame in frames:
                if frame.shape != shape or frame.dtype != np.uint8:
                    raise ValueError(f"{target}: frame {count} is {frame.dtype} {frame.shape}, not {shape}")
                process.stdin.write(np.ascontiguousarray(frame).data)
                count += 1
            process.stdin.close()
            process.wait()
        except BrokenPipeError:
            process.wait()
        finally:
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{target}: ffmpeg failed: {errors.read().decode(errors='replace').strip()}")
    if count == 0:
        raise ValueError(f"{target}: no frame to encode")
    return count
