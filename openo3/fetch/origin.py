"""Where the bytes of one file come from.

LocalFile(Path("a.mp4"))            a file on this machine               (openo3.fetch.random_access)
HttpFile(...)                       a file at an http(s) address         (openo3.fetch.http)
ZipMember(...), TarMember(...)      a member of an archive               (openo3.fetch.zips, .tars)
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class ByteStream(Protocol):
    """Bytes in order. `read` may return fewer bytes than requested, and returns none at the end."""

    def read(self, count: int = -1, /) -> bytes: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Origin(Protocol):
    """The source of one file.

    `identity` changes whenever the bytes may change. `name` appears in messages and contains no secrets.
    `size` in bytes, `sha256` and `crc32` are the expected values, `None` if unknown. `traffic` is the number
    of bytes to read for this file, `None` if unknown. `address` goes into the manifest; it is `None` for
    local files. `resumable` says whether reading can start in the middle of the file.
    """

    @property
    def identity(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str | None: ...
    @property
    def size(self) -> int | None: ...
    @property
    def traffic(self) -> int | None: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def crc32(self) -> int | None: ...
    @property
    def resumable(self) -> bool: ...
