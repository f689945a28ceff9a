"""Which files are opened at all, judged by their first bytes, and plain words for what is wrong with others.

Files come from outside. Playlists and concat scripts make ffmpeg's libraries open the files that they name,
so only real containers of pictures and sound are opened, and protocols are limited to `file`.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

TOO_SLOW = "too slow"
"""The reason of a `MediaError` that may be the machine's fault rather than the file's."""

CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,nut,mxf,rm,ivf,dv,wtv"
    ",gif,apng,webp_anim"
    ",mp3,wav,flac,aac"  # opened only to say that they hold no picture
)
"""ffmpeg's names of the demuxers that may open a file."""

OPEN_OPTIONS: Mapping[str, str] = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
"""ffmpeg's options for opening an untrusted local file."""

_FOREIGN = (
    (rb"version https://git-lfs", "a Git LFS pointer instead of the file; run `git lfs pull`"),
    (rb"\s*<(!doctype|html|\?xml)", "a web page instead of the file; download it again"),
    (rb"\s*(#EXTM3U|ffconcat |\[playlist\])", "a playlist, which is not opened; give the video itself"),
)
_MOST_BOXES, _MOST_MOOV = 100_000, 1 << 28  # sizes in a file may be forged
_PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # of Matroska and WebM
_LONGEST_EBML_HEADER = 1 << 12


class MediaError(Exception):
    """A file that gives no frames: `reason` is one of a few words to count by, `detail` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


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


def _missing_bytes(path: Path) -> int:
    """How many bytes a cut-off MP4, QuickTime, Matroska or WebM file lacks by its own account; else 0."""
    end = 0
    for _, position, size in _boxes(path):
        end = position + size
    return max(0, (end or _segment_end(path)) - path.stat().st_size)


def cut_off(path: Path) -> str:
    """That the file is not complete, as far as it says; empty if it is."""
    missing = _missing_bytes(path)
    return f"cut off: the last {missing:,} bytes are missing; download it again" if missing else ""


def why_unreadable(path: Path, *, refused: bool) -> str:
    """What is wrong with a file that cannot be opened; `refused` if `CONTAINERS` does not name its kind."""
    if words := cut_off(path):
        return words
    boxes = {kind for kind, *_ in _boxes(path)}
    if boxes:
        missing = "the MP4 index (moov) is missing: the recording or download was cut off"
        return "its header is damaged" if b"moov" in boxes else missing
    if refused:
        return "not a video container that is supported, such as MP4, MKV, WebM or MPEG-TS"
    return "neither a picture nor a video"


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


def _segment_end(path: Path) -> int:
    """Where a Matroska or WebM file says that it ends; 0 if it does not say, as recordings in progress."""
    with path.open("rb") as file:
        if file.read(4) != _EBML or not (size := _element_size(file)) or size > _LONGEST_EBML_HEADER:
            return 0
        file.seek(size, os.SEEK_CUR)
        if file.read(4) != _SEGMENT or not (size := _element_size(file)):
            return 0
        return file.tell() + size


def _element_size(file: BinaryIO) -> int | None:
    """The size of an EBML element, whose first set bit tells how many bytes long the size is."""
    first = file.read(1)
    length = 9 - first[0].bit_length() if first else 9
    if length > 8:
        return None
    bits = (1 << 7 * length) - 1
    size = int.from_bytes(first + file.read(length - 1), "big") & bits
    return None if size == bits else size  # all bits set: unknown
