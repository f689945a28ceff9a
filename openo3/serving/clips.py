"""The clip of a request as a temporary file, from a data: address, an https address or an upload.

    clips = Clips(folder, limits, allow_https=False)
    with clips.file(source) as path: ...        deleted at the end
    upload_id = clips.uploads.take_in(...)

Names and media types that a client gives are not used: the content decides what a file is.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from urllib.parse import unquote_to_bytes

from openo3.fetch.http import Http
from openo3.fetch.one_file import LIMITS, https_host, transfer
from openo3.fetch.plan import FetchError
from openo3.serving.chat import Source
from openo3.serving.errors import ApiError, invalid, too_large
from openo3.serving.limits import ServingLimits

_LONGEST_URL = 2000


@dataclass(frozen=True)
class Upload:
    """An uploaded file that waits for its question; `name` is only for showing."""

    path: Path
    name: str
    size: int
    created: int
    until: float


@dataclass
class Clips:
    """Temporary files in `folder`, which the caller deletes in the end."""

    folder: Path
    limits: ServingLimits
    allow_https: bool = False
    uploads: dict[str, Upload] = field(default_factory=dict)
    _arriving: int = 0
    _lock: Lock = field(default_factory=Lock)

    def claim(self, source: Source) -> Path | None:
        """The uploaded file that a source names, which nobody else can name from now on.

        Other sources are only checked, so that a request is refused before it stands in line.
        """
        if source.file_id is not None:
            with self._lock:
                self._expire()
                upload = self.uploads.pop(source.file_id, None)
            if upload is None:
                raise ApiError(
                    404,
                    f"file {source.file_id[:40]!r}: not here; a file is deleted when its question is answered"
                    f" or after {self.limits.upload_s:g} s",
                    param="messages",
                    code="file_not_found",
                )
            return upload.path
        url = source.url or ""
        if url[:5].lower() == "data:":
            return None
        if len(url) > _LONGEST_URL or https_host(url) is None:
            raise invalid(
                f"messages: {url[:40]!r}: a clip is a data: address, an uploaded file (file_id)"
                + (" or an https address" if self.allow_https else ""),
                "messages",
                "bad_url",
            )
        if not self.allow_https:
            raise invalid(
                "messages: this server fetches nothing; send the clip as a data: address or upload it",
                "messages",
                "fetching_disabled",
            )
        return None

    @contextmanager
    def file(self, source: Source, claimed: Path | None, deadline: float) -> Iterator[Path]:
        """The clip as a file until the end of the block. `deadline` is on the monotonic clock.

        Raises `ApiError`, for an address that cannot be read or whose file is too large.
        """
        path = claimed or self.folder / f"clip-{secrets.token_hex(16)}"
        try:
            if claimed is None and (source.url or "")[:5].lower() == "data:":
                path.write_bytes(data_of(source.url or "", self.limits.clip_bytes))
            elif claimed is None:
                self._fetch(source.url or "", path, deadline - time.monotonic())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _fetch(self, url: str, path: Path, limit_s: float) -> None:
        try:
            with Http(LIMITS, public=True) as http:
                transfer(http, url, path, self.limits.clip_bytes, limit_s)
        except FetchError as error:
            raise invalid(f"messages: {error}", "messages", "bad_url") from None

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """A place for an upload, from before its first byte, so that many at once cannot fill the disk.

        Raises `ApiError` if there is none.
        """
        with self._lock:
            self._expire()
            if (count := len(self.uploads) + self._arriving) >= self.limits.uploads:
                raise ApiError(429, f"{count} uploaded files arrive or wait for a question", retry_after_s=10)
            self._arriving += 1
        try:
            yield
        finally:
            with self._lock:
                self._arriving -= 1

    async def take_in(self, pieces: AsyncIterator[bytes], name: str) -> tuple[str, Upload]:
        """Store an uploaded file that has a place (`arriving`); its id, and what is known of it.

        Raises `ApiError`.
        """
        path = self.folder / f"upload-{secrets.token_hex(16)}"
        size = 0
        try:
            with path.open("wb") as file:
                async for piece in pieces:
                    size += len(piece)
                    if size > self.limits.clip_bytes:
                        raise too_large(self.limits.clip_bytes)
                    file.write(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        upload = Upload(path, name, size, int(time.time()), time.monotonic() + self.limits.upload_s)
        file_id = f"file-{secrets.token_urlsafe(24)}"
        with self._lock:
            self.uploads[file_id] = upload
        return file_id, upload

    def delete(self, file_id: str) -> bool:
        """Delete an uploaded file; False if it is not here."""
        with self._lock:
            upload = self.uploads.pop(file_id, None)
        if upload:
            upload.path.unlink(missing_ok=True)
        return upload is not None

    def expire(self) -> None:
        """Delete uploaded files that nobody asked about in time."""
        with self._lock:
            self._expire()

    def _expire(self) -> None:
        now = time.monotonic()
        for file_id, upload in list(self.uploads.items()):
            if now > upload.until:
                del self.uploads[file_id]
                upload.path.unlink(missing_ok=True)


def data_of(url: str, most: int) -> bytes:
    """The bytes in a data: address. Raises `ApiError` for a broken one and for more than `most` bytes.

    >>> data_of("data:image/png;base64,aGk=", 10)
    b'hi'
    """
    head, comma, payload = url.partition(",")
    if not comma:
        raise invalid("messages: a data: address without a comma", "messages", "bad_url")
    if not head.lower().endswith(";base64"):
        content = unquote_to_bytes(payload)
    elif len(payload) > most * 4 / 3 + 4:
        raise too_large(most)
    else:
        try:
            content = base64.b64decode(payload, validate=True)
        except ValueError as error:  # also letters beyond ASCII, which are no binascii.Error
            raise invalid(
                f"messages: a data: address whose base64 is broken: {error}", "messages", "bad_url"
            ) from None
    if len(content) > most:
        raise too_large(most)
    return content
