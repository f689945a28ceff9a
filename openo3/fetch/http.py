"""Files behind http(s) addresses, read by ranges.

    with Http(Limits()) as http:
        blob = http.look("https://example.org/a.mp4")        size and validator; raises if unavailable
        read(blob, 100, 200)

A connection that breaks, stalls or is too slow is opened again, with growing waits; 429 and 5xx likewise,
after the wait that the server asks for. It resumes mid-file only where the server can tell one version of the
file from another: under a strong ETag (sent as `If-Range`), or at a commit of the hub, whose digests are
checked. Otherwise it raises `Interrupted`, and the file starts anew. Tokens are sent as headers to the
address alone, never to another host that it redirects to, and are part of no message. A redirect from the
internet into a private network is refused.
"""

from __future__ import annotations

import email.utils
import hashlib
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import httpx2 as httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from openo3.fetch.addresses import leads_inside
from openo3.fetch.deadlines import deadline, limit
from openo3.fetch.limits import Limits, Throttle
from openo3.fetch.plan import FetchError, Unavailable, Unfinished
from openo3.fetch.public import public_only
from openo3.fetch.random_access import PIECE

T = TypeVar("T")

LOGIN = "log in with `hf auth login` or set HF_TOKEN, and accept the data set's conditions on its page"
_LONGEST_WAIT_S = 300.0
BUSY = {408, 425, 429, 500, 502, 503, 504, 520, 522, 524}
_NUMBER = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(rf"bytes ({_NUMBER.pattern})-({_NUMBER.pattern})/({_NUMBER.pattern}|\*)")
_MOST_REDIRECTS = 10


class Broken(Exception):
    """The request failed in a way that may pass; `after_s` is the wait that the server asked for."""

    def __init__(self, what: str, after_s: float = 0.0) -> None:
        super().__init__(what)
        self.after_s = after_s


class Changed(Unfinished):
    """The file changed on the server while it was read."""


class Interrupted(Unfinished):
    """The connection broke, and the rest could be of another version: the file can only start anew."""


class Http:
    """A pool of connections; threads may share it.

    `public`: for addresses that a stranger chose. Only https to hosts of the internet, and no proxy, which
    would reach others.
    """

    def __init__(self, limits: Limits, *, public: bool = False) -> None:
        self._public = public
        self._client = httpx.Client(
            trust_env=not public,
            timeout=httpx.Timeout(limits.stall_s, pool=None),
            limits=httpx.Limits(max_connections=2 * limits.threads),
            headers={"Accept-Encoding": "identity", "User-Agent": "openo3"},
        )
        for transport in (self._client._transport, *filter(None, self._client._mounts.values())):
            if public:
                public_only(transport)
            limit(transport)
        self.limits = limits
        self._throttle = Throttle(limits.bandwidth_mb_s and limits.bandwidth_mb_s * 1e6)
        self._waits = wait_random_exponential(multiplier=limits.wait_s, max=60)
        self._retrying = Retrying(
            retry=retry_if_exception_type(Broken),
            stop=stop_after_attempt(limits.tries),
            wait=self._wait,
            reraise=True,
        )

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def look(self, url: str, headers: Mapping[str, str] | None = None) -> HttpBlob:
        """The file of that address. Raises `Unavailable` or `Unfinished` if it cannot be read."""
        blob = HttpBlob(self, url, headers=headers or {})
        with blob.stream(0, 1) as stream:
            stream.read(1)
            return replace(blob, size=stream.version.size, tag=stream.version.tag, final=stream.final)

    def get(self, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """The open answer at the end of the redirects. Raises `Unavailable` where they may not lead."""
        request = self._client.build_request("GET", url, headers=headers)
        first = request.url.host
        for _ in range(_MOST_REDIRECTS + 1):
            if self._public and request.url.scheme != "https":
                raise Unavailable("unsafe", f"{shown(str(request.url))}: not https")
            with deadline(self.limits.stall_s):
                response = self._client.send(request, stream=True)
            if response.next_request is None:
                return response
            response.close()
            request = response.next_request
            if request.url.host != first and leads_inside(first, request.url.host):
                to = f"redirects to {request.url.host}, in a private network"
                raise Unavailable("unsafe", f"{shown(url)}: {to}")
        raise Unavailable("missing", f"{shown(url)}: more than {_MOST_REDIRECTS} redirects")

    def patiently(self, call: Callable[[], T]) -> T:
        """Call again while it raises `Broken`, with waits. Raises the last `Broken`."""
        return self._retrying(call)

    def _wait(self, state: RetryCallState) -> float:
        asked = state.outcome.exception().after_s
        return min(asked, _LONGEST_WAIT_S) or self._waits(state)


@dataclass(frozen=True)
class _Version:
    """What tells one version of a file from another."""

    size: int | None = None
    tag: str | None = None

    @property
    def strong(self) -> bool:
        """Only a strong ETag changes whenever a byte does; a weak one or a date may stay."""
        return bool(self.tag and self.tag.startswith('"'))

    def agrees(self, other: _Version) -> bool:
        pairs = ((self.size, other.size), (self.tag, other.tag))
        return all(ours is None or theirs is None or ours == theirs for ours, theirs in pairs)


@dataclass(frozen=True)
class HttpBlob:
    """`tag` is its ETag or time of change; `pinned` names a version that never changes; `git` is git's
    id of the bytes. That, or their sha256, is what they are, wherever they are. `final` is the address that
    `url` redirects to."""

    http: Http = field(repr=False, compare=False)
    url: str = field(repr=False)
    size: int | None = None
    tag: str | None = None
    sha256: str | None = None
    pinned: str | None = None
    git: str | None = None
    final: str | None = field(default=None, repr=False, compare=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    crc32 = None

    @cached_property
    def name(self) -> str:
        return self.pinned or shown(self.url)

    @property
    def address(self) -> str:
        """Where the bytes came from in the end, with their version if there is one."""
        if self.pinned:
            return self.pinned
        name = shown(self.final or self.url)
        return name + "@" + self.tag.replace('"', "") if self.tag else name

    @property
    def traffic(self) -> int | None:
        return self.size

    @property
    def identity(self) -> str:
        if self.sha256:
            return f"sha256 {self.sha256}"
        if self.git:
            return f"git {self.git}"
        version = hashlib.sha256(f"{self.url} {self.tag}".encode()).hexdigest()[:32]
        return f"{self.name} {self.size} {version}"

    @property
    def resumable(self) -> bool:
        """Only if the rest is known to be of the same version."""
        return bool(self.pinned or self.sha256) or _Version(tag=self.tag).strong

    def stream(self, start: int = 0, end: int | None = None) -> BinaryIO:
        return _Stream(self, start, self.size if end is None else end)


class _Stream(io.RawIOBase):
    """The bytes from `start` to `end` (None: to the end, wherever that is) of an `HttpBlob`."""

    def __init__(self, blob: HttpBlob, start: int, end: int | None) -> None:
        self._blob, self._http = blob, blob.http
        self._start, self._position, self._end = start, start, end
        self.version = _Version(blob.size, blob.tag)
        self.final: str | None = None
        self._came, self._window = 0, [0.0, 0]  # bytes of this connection; seconds and bytes of this window
        self._poor = 0  # connections in a row that brought next to nothing
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._left = b""  # read from the network and not yet asked for

    def readable(self) -> bool:
        return True

    def read(self, count: int = PIECE) -> bytes:
        if not self._left and (self._end is None or self._position < self._end):
            try:
                self._left = self._http.patiently(self._next)
            except Broken as error:
                raise Unfinished(f"{self._blob.name}: {error}") from None
            self._http._throttle.took(len(self._left))
            self._position += len(self._left)
        piece, self._left = self._left[:count], self._left[count:]
        return piece

    def close(self) -> None:
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response = None

    def _next(self) -> bytes:
        """The next bytes as they come; empty at the end. Raises `Broken`."""
        try:
            if self._response is None:
                self._open()
            piece = self._wait_for_piece()
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
            self._drop()
            raise Unavailable("missing", f"{self._blob.name}: {error}") from None
        except httpx.RequestError as error:
            raise self._broken(_said(error)) from None
        except Broken:
            self._drop()
            raise
        if not piece and self._end is not None and self._position < self._end:
            raise self._broken("the connection ended too early")
        return piece if self._end is None else piece[: self._end - self._position]

    def _broken(self, what: str) -> Exception:
        """Give the connection up. After `tries` in a row that brought next to nothing, give up the file."""
        self._drop()
        limits = self._http.limits
        self._poor = self._poor + 1 if self._came < limits.least_kb_s * 1000 * limits.stall_s else 0
        return Broken(what) if self._poor < limits.tries else Unfinished(f"{self._blob.name}: {what}")

    def _wait_for_piece(self) -> bytes:
        """Raises `Broken` or `Unfinished` below the least rate, over windows of `stall_s` of waiting."""
        limits, started = self._http.limits, time.monotonic()
        with deadline(limits.stall_s):
            piece = next(self._pieces, b"")
        self._came += len(piece)
        self._window[0] += time.monotonic() - started
        self._window[1] += len(piece)
        seconds, count = self._window
        if piece and seconds >= limits.stall_s:
            self._window = [0.0, 0]
            if count < limits.least_kb_s * 1000 * seconds:
                raise self._broken(f"less than {limits.least_kb_s:g} KB/s came")
        return piece

    def _open(self) -> None:
        blob = self._blob
        if self._position > self._start and not (blob.resumable or self.version.strong):
            raise Interrupted(f"{blob.name}: the connection broke, and the server names no version to resume")
        headers = dict(blob.headers)
        if self._position or self._end is not None:
            last = "" if self._end is None else self._end - 1
            headers["Range"] = f"bytes={self._position}-{last}"
            if self.version.strong:
                headers["If-Range"] = self.version.tag
        self._came, self._window = 0, [0.0, 0]
        self._response = self._http.get(blob.url, headers)
        self._check(self._response)
        if (final := str(self._response.url)) != blob.url:
            self.final = final
        self._pieces = self._response.iter_raw()  # as it comes: a broken connection loses nothing

    def _check(self, response: httpx.Response) -> None:
        name, status = self._blob.name, response.status_code
        if status in BUSY:
            raise Broken(f"status {status}", retry_after(response))
        if status in (401, 403) and self._blob.pinned:
            raise FetchError(f"{name}: status {status}; {LOGIN}")
        if status == 416 and not self._position:
            raise Unavailable("unreadable", f"{name}: empty")
        if status == 416:
            raise Changed(f"{name}: changed on the server while it was read: it is shorter")
        if status not in (200, 206):
            raise Unavailable("missing", f"{name}: status {status}")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise Unavailable("unreadable", f"{name}: a web page instead of the file")
        found = _version(response)
        if not self.version.agrees(found):
            raise Changed(f"{name}: changed on the server while it was read")
        if status == 200 and self._position > self._start:
            raise Interrupted(f"{name}: the connection broke, and the server gives no ranges to go on with")
        if status == 200 and self._position:
            raise Unavailable("unreadable", f"{name}: the server gives no ranges")
        if status == 206 and _range_start(response) != self._position:
            raise Broken("another range than was asked for")
        self.version = _Version(self.version.size or found.size, self.version.tag or found.tag)


def shown(url: str) -> str:
    """An address as messages may show it: without user, password and query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _version(response: httpx.Response) -> _Version:
    headers = response.headers
    if response.status_code == 206:
        match = _RANGE.fullmatch(headers.get("Content-Range", ""))
        size = int(match[3]) if match and match[3] != "*" else None
    else:
        length = headers.get("Content-Length", "")
        size = int(length) if _NUMBER.fullmatch(length) else None
    return _Version(size, headers.get("ETag") or headers.get("Last-Modified"))


def _range_start(response: httpx.Response) -> int | None:
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def retry_after(response: httpx.Response) -> float:
    """Seconds; 0 if the server asks for no wait."""
    value = response.headers.get("Retry-After", "")
    if _NUMBER.fullmatch(value):
        return float(value)
    with suppress(ValueError, OverflowError, TypeError, IndexError, OSError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0


def _said(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "the server was silent or too slow"
    return f"the connection broke ({type(error).__name__})"
