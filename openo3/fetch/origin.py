"""Where the bytes of one file come from.

LocalFile(Path("a.mp4"))            a file on this machine               (openo3.fetch.random_access)
HttpBlob(...)                       a file behind an address             (openo3.fetch.http)
ZipMember(...), TarMember(...)      a member of an archive of either     (openo3.fetch.zips, .tars)
"""

from __future__ import annotations

from typing import Protocol


class Origin(Protocol):
    """`identity` changes whenever the bytes may change; `name` appears in messages and holds no secret.

    `size` (in bytes), `sha256` and `crc32` are expected values, None if unknown. `traffic` is the number of
    bytes that must be read for it. `address` goes into the manifest, None for local files. `resumable` says
    whether reading can start mid-file.
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
