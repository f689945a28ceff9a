"""Where the bytes of one file come from.

LocalFile(Path("a.mp4"))            a file on this machine               (openo3.fetch.random_access)
HttpBlob(...)                       a file behind an address             (openo3.fetch.http)
ZipMember(...), TarMember(...)      a member of an archive of either     (openo3.fetch.zips, .tars)
"""

from __future__ import annotations

from typing import Protocol


class Origin(Protocol):
    """`identity` changes whenever the bytes may; `name` is what messages call it, without any secret.

    `size`, `sha256` and `crc32` are what the bytes must have, None if nobody has told. `traffic` is how many
    bytes have to be read for it. `address` goes into the manifest: None for this machine's own files.
    `resumable`: reading can begin in the middle.
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
