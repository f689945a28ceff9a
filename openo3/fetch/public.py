"""Connections to the internet only, for addresses that a stranger chose.

A name is resolved once, every address of it is looked at, and the connection goes to one of these: a name
that changes its address between the check and the connection gains nothing.
"""

from __future__ import annotations

import socket
from typing import Any

import httpcore2
import httpx2

from openo3.fetch.addresses import network
from openo3.fetch.plan import Unavailable


def public_only(transport: httpx2.HTTPTransport) -> None:
    """Make the transport raise `Unavailable` for a host with any address that is not public.

    Like `deadlines.limit`, it sets a private attribute of httpcore's pool.
    """
    pool = transport._pool
    pool._network_backend = _PublicBackend(pool._network_backend)


class _PublicBackend(httpcore2.NetworkBackend):
    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore2.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host}: {error}") from None
        addresses = [str(address[0]) for *_, address in found]
        if any(network(address) != "public" for address in addresses):
            raise Unavailable("unsafe", f"{host}: not an address of the internet")
        return self._backend.connect_tcp(addresses[0], port, *args, **options)

    def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:
        raise Unavailable("unsafe", "a socket of this machine")

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)
