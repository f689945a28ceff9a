"""Which files are opened at all, judged by their first bytes, and plain words for what is wrong with others.

Files come from outside. Playlists and concat scripts make ffmpeg open the files that they name, so only real
containers of pictures and sound are opened, and ffmpeg's protocols are limited to `file`.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,nut,mxf,rm,ivf,dv,wtv"
    ",gif,apng,webp_anim"
    ",mp3,wav,flac,aac"  # opened only to say that they hold no picture
)
"""ffmpeg's names of the demuxers that may open a file."""

_FOREIGN = (
    (rb"version https://git-lfs", "a Git LFS pointer instead of the file; run `git lfs pull`"),
    (rb"\s*<(!doctype|html|\?xml)", "a web page instead of the file; download it again"),
    (rb"\s*(#EXTM3U|ffconcat |\[playlist\])", "a playlist, which is not opened; give the video itself"),
)
_MOST_BOXES, _MOST_MOOV = 100_000, 1 << 28  # sizes in a file may be forged
_PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
_NOT_MEDIA = "neither a picture nor a video"
_WORDS = {
    "Format not on whitelist": "not a video container that is supported, such as MP4, MKV, WebM or MPEG-TS",
    "moov atom not found": "the MP4 index (moov) is missing: the recording or download was cut off",
    "Packet corrupt": "damaged or cut off",
    "Invalid data found when processing input": _NOT_MEDIA,
}


def input_options(path: str | os.PathLike[str]) -> list[str]:
    """ffmpeg's input options for an untrusted local file, whose name may contain `:` or `%`."""
    allowed = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    return ["-xerror", *allowed, "-i", f"file:{os.path.abspath(path)}"]


def unsupported(path: Path) -> str | None:
    """Why a file is not opened, None if it may be."""
    with path.open("rb") as file:
        start = file.read(64)
    for pattern, what in _FOREIGN:
        if re.match(pattern, start, re.IGNORECASE):
            return what
    if start[4:8] == b"ftyp" and start[8:12] in _PICTURE_BRANDS:
        return "HEIC and AVIF pictures are not supported; convert it to JPEG or PNG"
    return None


def encrypted(path: Path) -> bool:
    """True for an MP4 file whose video is copy-protected; its packets look like those of any other."""
    with path.open("rb") as file:
        for kind, position, size in _boxes(path):
            if kind == b"moov":
                file.seek(position)
                return re.search(rb"encv\0{6}", file.read(min(size, _MOST_MOOV))) is not None
    return False


def complaint(log: str, path: str | os.PathLike[str]) -> str:
    """What ffmpeg's log says is wrong with the file, in plain words and without paths and addresses."""
    boxes = list(_boxes(Path(path)))
    if boxes:
        _, position, size = boxes[-1]
        if (missing := position + size - os.path.getsize(path)) > 0:
            return f"cut off: the last {missing:,} bytes are missing; download it again"
    log = log.replace(os.path.abspath(path), "")  # a file may be called corrupted.mp4
    said = [line for line in log.splitlines() if line.startswith(("[", "Error"))]  # others quote the file
    for line in said:
        if "moov atom not found" in line and not boxes:
            return _NOT_MEDIA
        if re.search("error|invalid|corrupt|premature|partial|not found|whitelist", line, re.IGNORECASE):
            words = (words for known, words in _WORDS.items() if known in line)
            return next(words, re.sub(r"^(\[[^]]*\] *)+", "", line)[:200])
    return "ffmpeg cannot read it"


def _boxes(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """`(kind, position, bytes)` of the top-level boxes of an MP4 or QuickTime file; none for other files."""
    end, position = path.stat().st_size, 0
    with path.open("rb") as file:
        for _ in range(_MOST_BOXES):
            if position + 8 > end:
                return
            file.seek(position)
            header = file.read(16)
            size, kind = struct.unpack(">I4s", header[:8])
            if position == 0 and kind not in (b"ftyp", b"wide", b"moov", b"mdat", b"free", b"skip"):
                return
            if size == 1 and len(header) == 16:
                (size,) = struct.unpack(">Q", header[8:])
            if size < 8:  # 0: up to the end of the file
                size = end - position
            yield kind, position, size
            position += size
