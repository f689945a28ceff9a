"""Limit the total time that a wait for a server may take, however often the server sends a byte.

httpx limits only the time between two reads of a socket. A server that sends single bytes, or one `100
Continue` after the other, never reaches that limit.

    enforce_deadlines(transport)
    with deadline(30.0):
        client.send(request, stream=True)           httpx.ReadTimeout after 30 s of headers
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2

_own = threading.local()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let all reads of this thread's connections time out `seconds` from now."""
    _own.ends = time.monotonic() + seconds
    try:
        yield
    finally:
        _own.ends = None


def enforce_deadlines(transport: httpx2.HTTPTransport) -> None:
    """Make the transport's connections respect `deadline`.

    httpx 2.16 has no public way to pass a network backend, so this sets a private attribute of httpcore's
    pool. It can go when `HTTPTransport` takes a `network_backend`.
    """
    pool = transport._pool
    pool._network_backend = _Backend(pool._network_backend)


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:
        return _Stream(self._backend.connect_tcp(*args, **options))

    def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:
        return _Stream(self._backend.connect_unix_socket(*args, **options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if (ends := getattr(_own, "ends", None)) is not None:
            left = ends - time.monotonic()
            if left <= 0:
                raise httpcore2.ReadTimeout("too slow")
            timeout = left if timeout is None else min(timeout, left)
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(*args, **options))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
