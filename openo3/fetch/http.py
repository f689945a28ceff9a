"""Files at http(s) addresses, read by ranges.

    with Http(Limits()) as http:
        file = http.file("https://example.org/a.mp4")        size and validator; raises if unavailable
        read(file, 100, 200)

A connection that breaks, stalls or is too slow is retried with exponential backoff. Statuses 429 and 5xx are
retried likewise, after the wait that the server asks for.

A download resumes in the middle only if the version of the file is certain: under a strong ETag (sent as
`If-Range`), or at a commit of the hub, whose digests are checked. Otherwise `Interrupted` is raised, and the
file starts from the beginning.

Tokens are sent as headers to the address itself, never to another host after a redirect, and never appear in
messages. A redirect from the internet into a private network is refused.
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
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2 as httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from openo3.fetch.addresses import enters_private_network
from openo3.fetch.deadlines import deadline, enforce_deadlines
from openo3.fetch.limits import Limits, Throttle
from openo3.fetch.plan import FetchError, Unavailable, Unfinished
from openo3.fetch.public import public_only
from openo3.fetch.random_access import PIECE

T = TypeVar("T")

LOGIN = "log in with `hf auth login` or set HF_TOKEN, and accept the data set's conditions on its page"
_MAX_WAIT_S = 300.0
BUSY = {408, 425, 429, 500, 502, 503, 504, 520, 522, 524}
_NUMBER = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(rf"bytes ({_NUMBER.pattern})-({_NUMBER.pattern})/({_NUMBER.pattern}|\*)")
_MAX_REDIRECTS = 10


class Broken(Exception):
    """A transient failure of a request. `after_s` is the wait that the server asked for."""

    def __init__(self, what: str, after_s: float = 0.0) -> None:
        super().__init__(what)
        self.after_s = after_s


class Changed(Unfinished):
    """The file changed on the server during the download."""


class Interrupted(Unfinished):
    """The connection broke, and the rest may be of another version, so the file must start again."""


class Http:
    """A connection pool that threads may share.

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
            if isinstance(transport, httpx.HTTPTransport):
                if public:
                    public_only(transport)
                enforce_deadlines(transport)
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

    def file(self, url: str, headers: Mapping[str, str] | None = None) -> HttpFile:
        """The file at an address. Raises `Unavailable` or `Unfinished` if it cannot be read."""
        file = HttpFile(self, url, headers=headers or {})
        with file.stream(0, 1) as stream:
            stream.read(1)
            return replace(file, size=stream.version.size, tag=stream.version.tag, final=stream.final)

    def get(self, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """The open response after all redirects. Raises `Unavailable` for a redirect that is refused."""
        request = self._client.build_request("GET", url, headers=headers)
        first = request.url.host
        for _ in range(_MAX_REDIRECTS + 1):
            if self._public and request.url.scheme != "https":
                raise Unavailable("unsafe", f"{shown(str(request.url))}: not https")
            with deadline(self.limits.stall_s):
                response = self._client.send(request, stream=True)
            if response.next_request is None:
                return response
            response.close()
            request = response.next_request
            if request.url.host != first and enters_private_network(first, request.url.host):
                to = f"redirects to {request.url.host}, in a private network"
                raise Unavailable("unsafe", f"{shown(url)}: {to}")
        raise Unavailable("missing", f"{shown(url)}: more than {_MAX_REDIRECTS} redirects")

    def retry(self, call: Callable[[], T]) -> T:
        """Call again with backoff while it raises `Broken`. Raises the last `Broken`."""
        return self._retrying(call)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        requested_s = error.after_s if isinstance(error, Broken) else 0.0
        return min(requested_s, _MAX_WAIT_S) or self._waits(state)


@dataclass(frozen=True)
class _Version:
    """What distinguishes the versions of a file."""

    size: int | None = None
    tag: str | None = None

    @property
    def strong(self) -> bool:
        """Whether the tag changes with every byte. Weak ETags and dates may stay the same."""
        return bool(self.tag and self.tag.startswith('"'))

    def matches(self, other: _Version) -> bool:
        pairs = ((self.size, other.size), (self.tag, other.tag))
        return all(ours is None or theirs is None or ours == theirs for ours, theirs in pairs)


@dataclass(frozen=True)
class HttpFile:
    """A file at an address.

    `tag` is its ETag or modification time. `pinned` names a version that never changes. `git` is git's ID of
    the content; like `sha256`, it identifies the content at any address. `final` is the address that `url`
    redirects to.
    """

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

    @property
    def name(self) -> str:
        return self.pinned or shown(self.url)

    @property
    def address(self) -> str:
        """The final address of the bytes, with their version if there is one."""
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
        """Whether the rest of an interrupted download is certainly of the same version."""
        return bool(self.pinned or self.sha256) or _Version(tag=self.tag).strong

    def stream(self, start: int = 0, end: int | None = None) -> _Stream:
        return _Stream(self, start, self.size if end is None else end)


class _Stream(io.RawIOBase):
    """The bytes of an `HttpFile` from `start` to `end`, or to its unknown end for `None`."""

    def __init__(self, file: HttpFile, start: int, end: int | None) -> None:
        self._file, self._http = file, file.http
        self._start, self._position, self._end = start, start, end
        self.version = _Version(file.size, file.tag)
        self.final: str | None = None
        self._received = 0  # bytes of this connection
        self._window = [0.0, 0]  # seconds and bytes of the current window
        self._slow_connections = 0  # consecutive connections that delivered next to nothing
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._buffer = b""  # received, but not yet requested by the caller

    def readable(self) -> bool:
        return True

    def read(self, count: int = PIECE) -> bytes:
        if not self._buffer and (self._end is None or self._position < self._end):
            try:
                self._buffer = self._http.retry(self._next)
            except Broken as error:
                raise Unfinished(f"{self._file.name}: {error}") from None
            self._http._throttle.add(len(self._buffer))
            self._position += len(self._buffer)
        piece, self._buffer = self._buffer[:count], self._buffer[count:]
        return piece

    def close(self) -> None:
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response = None

    def _next(self) -> bytes:
        """The next received bytes, empty at the end. Raises `Broken`."""
        try:
            if self._response is None:
                self._open()
            piece = self._wait_for_piece()
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
            self._drop()
            raise Unavailable("missing", f"{self._file.name}: {error}") from None
        except httpx.RequestError as error:
            raise self._broken(_description(error)) from None
        except Broken:
            self._drop()
            raise
        if not piece and self._end is not None and self._position < self._end:
            raise self._broken("the connection ended too early")
        return piece if self._end is None else piece[: self._end - self._position]

    def _broken(self, what: str) -> Exception:
        """Drop the connection. After `tries` useless connections in a row, give up the file."""
        self._drop()
        limits = self._http.limits
        slow = self._received < limits.least_kb_s * 1000 * limits.stall_s
        self._slow_connections = self._slow_connections + 1 if slow else 0
        if self._slow_connections < limits.tries:
            return Broken(what)
        return Unfinished(f"{self._file.name}: {what}")

    def _wait_for_piece(self) -> bytes:
        """The next piece. Raises `Broken` or `Unfinished` below the least rate over `stall_s` of waiting."""
        limits, started = self._http.limits, time.monotonic()
        with deadline(limits.stall_s):
            piece = next(self._pieces, b"")
        self._received += len(piece)
        self._window[0] += time.monotonic() - started
        self._window[1] += len(piece)
        seconds, count = self._window
        if piece and seconds >= limits.stall_s:
            self._window = [0.0, 0]
            if count < limits.least_kb_s * 1000 * seconds:
                raise self._broken(f"slower than {limits.least_kb_s:g} KB/s")
        return piece

    def _open(self) -> None:
        file = self._file
        if self._position > self._start and not (file.resumable or self.version.strong):
            why = "the connection broke, and the server gives no version, so it cannot resume"
            raise Interrupted(f"{file.name}: {why}")
        headers = dict(file.headers)
        if self._position or self._end is not None:
            last = "" if self._end is None else self._end - 1
            headers["Range"] = f"bytes={self._position}-{last}"
            if self.version.strong:
                headers["If-Range"] = str(self.version.tag)
        self._received, self._window = 0, [0.0, 0]
        self._response = self._http.get(file.url, headers)
        self._check(self._response)
        if (final := str(self._response.url)) != file.url:
            self.final = final
        self._pieces = self._response.iter_raw()  # unbuffered, so that a broken connection loses nothing

    @property
    def _is_resumed(self) -> bool:
        """Whether this is the rest of a file whose version only the tag can prove."""
        file = self._file
        to_the_end = self._end is None or self._end == file.size
        known = file.pinned or file.sha256 or file.git
        return self._position > 0 and to_the_end and self.version.strong and not known

    def _check(self, response: httpx.Response) -> None:
        name, status = self._file.name, response.status_code
        if status in BUSY:
            raise Broken(f"status {status}", retry_after(response))
        if status in (401, 403) and self._file.pinned:
            raise FetchError(f"{name}: status {status}; {LOGIN}")
        if status == 416 and not self._position:
            raise Unavailable("unreadable", f"{name}: empty")
        if status == 416:
            raise Changed(f"{name}: changed on the server during the download: it is shorter")
        if status not in (200, 206):
            raise Unavailable("missing", f"{name}: status {status}")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise Unavailable("unreadable", f"{name}: a web page instead of the file")
        found = _version(response)
        if not self.version.matches(found):
            raise Changed(f"{name}: changed on the server during the download")
        if status == 200 and self._position > self._start:
            why = "the connection broke, and the server does not support ranges, so it cannot resume"
            raise Interrupted(f"{name}: {why}")
        if status == 200 and self._position:
            raise Unavailable("unreadable", f"{name}: the server does not support ranges")
        if status == 206 and self._is_resumed and not found.tag:
            why = "the server gives the rest without its version, so it cannot resume"
            again = self._position > self._start
            raise Interrupted(f"{name}: {why}") if again else Unavailable("unreadable", f"{name}: {why}")
        if status == 206 and _range_start(response) != self._position:
            raise Broken("the server sent another range than requested")
        self.version = _Version(self.version.size or found.size, self.version.tag or found.tag)


def shown(url: str) -> str:
    """The address without user, password and query, for messages."""
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
    """The wait in seconds that the server asks for; 0 if none."""
    value = response.headers.get("Retry-After", "")
    if _NUMBER.fullmatch(value):
        return float(value)
    with suppress(ValueError, OverflowError, TypeError, IndexError, OSError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0


def _description(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "the server was silent or too slow"
    return f"the connection broke ({type(error).__name__})"
