"""Generated video files; the pixels of each frame encode its number."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from openo3.media.ffmpeg import H264, binary, encode

SIZE = (64, 48)


def numbered(count: int, first: int = 0, size: tuple[int, int] = SIZE) -> Iterator[np.ndarray]:
    """[H, W, 3] frames: eight bars spell the number in white and black, below a red band at the top."""
    width, height = size
    for number in range(first, first + count):
        bars = np.repeat([255 * (number >> bit & 1) for bit in range(8)], -(-width // 8))[:width]
        frame = np.repeat(bars[None, :, None], height, 0).repeat(3, 2).astype(np.uint8)
        frame[: height // 4] = (200, 30, 30)
        yield frame


def number(image: Image.Image) -> int:
    """The number that a frame shows, after compression and resizing."""
    pixels = np.asarray(image.convert("L"), dtype=float)
    height, width = pixels.shape
    bars = pixels[height * 6 // 10 : height * 9 // 10].mean(0)
    middles = [bars[int((bit + 0.3) * width / 8) : int((bit + 0.7) * width / 8) + 1] for bit in range(8)]
    return sum(int(middle.mean() > 128) << bit for bit, middle in enumerate(middles))


def clip(
    path: Path, count: int = 60, fps: float = 30, first: int = 0, options: Mapping[str, object] | None = None
) -> Path:
    encode(path, numbered(count, first), fps, SIZE, options or H264)
    return path


def ffmpeg(*arguments: object) -> str:
    """Run ffmpeg and return its log."""
    command = [binary(), "-hide_banner", "-nostdin", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def shown(path: Path) -> list[float]:
    """The presentation time of every frame, according to ffmpeg's own decoder."""
    log = ffmpeg(
        "-i", path, "-map", "0:v:0", "-vf", "showinfo", "-fps_mode", "passthrough", "-f", "null", "-"
    )
    return [float(time_s) for time_s in re.findall(r"pts_time:(\S+)", log)]


def copied(source: Path, target: Path, *before: object, after: tuple[object, ...] = ()) -> Path:
    """Copy the packets to another file, with ffmpeg's input options `before` and output options `after`."""
    ffmpeg(*before, "-i", source, "-c", "copy", *after, target)
    return target
