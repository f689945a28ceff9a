"""Connections that ask nothing or read nothing are closed, and those that work are not."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from openo3.serving import connections
from tests.support.asgi import served

HEAD_S = 0.4
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(connections, "HEAD_S", HEAD_S)
    monkeypatch.setattr(connections, "STUCK_S", HEAD_S)
    monkeypatch.setattr(connections, "CONNECTIONS", 8)
    app = FastAPI()

    @app.get("/")
    def hello() -> Response:
        return PlainTextResponse("hello")

    @app.get("/much")
    def much() -> Response:
        return PlainTextResponse("x" * 30_000_000)

    @app.post("/")
    async def slowly(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    @app.post("/unread")
    def unread() -> Response:
        return PlainTextResponse("no")

    with served(app) as found:
        yield found


def connected(address: str, sent: bytes = b"") -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)))
    made.sendall(sent)
    return made


def closed_within(made: socket.socket, limit_s: float, dripping: bytes = b"") -> bool:
    """Whether the server closes a connection on which a byte is sent every 50 ms."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        try:
            if dripping:
                made.send(dripping)
            if select.select([made], [], [], 0.05)[0] and not made.recv(1 << 16):
                return True
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize(
    ("sent", "dripping"),
    [
        (b"", b""),
        (HEAD, b""),
        (HEAD, b"X"),
        (b"", b"G"),
        (HEAD + b"\r\n", b""),  # answered, then silent
        (HEAD + b"\r\n" + HEAD, b"X"),  # the second request never ends
        (b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n", b"z"),
    ],
)
def test_a_connection_without_a_whole_request_is_closed(address: str, sent: bytes, dripping: bytes) -> None:
    with connected(address, sent) as made:
        assert closed_within(made, 20 * HEAD_S, dripping)


def test_a_client_that_reads_nothing_is_cut_off(address: str) -> None:
    received = whole = 30_000_000
    for patience_s in (3 * HEAD_S, 5.0, 30.0):  # the machine may be busy
        with socket.socket() as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = address.removeprefix("http://").split(":")
            made.connect((host, int(port)))
            made.sendall(HEAD.replace(b"/ ", b"/much ") + b"\r\n")
            time.sleep(patience_s)
            received = 0
            with suppress(ConnectionError):
                while piece := made.recv(1 << 16):
                    received += len(piece)
        if received < whole:
            break
    assert received < whole


def test_a_slow_body_and_a_slow_reader_are_for_the_routes_to_judge(address: str) -> None:
    with connected(
        address, b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 20\r\n\r\n"
    ) as made:
        for _ in range(20):
            time.sleep(HEAD_S / 10)
            made.sendall(b"b")
        assert b"b" * 20 in b"".join(iter(lambda: made.recv(1 << 16), b""))
    with httpx.stream("GET", f"{address}/much") as answer:
        received = 0
        for number, piece in enumerate(answer.iter_bytes(1 << 20)):
            received += len(piece)
            time.sleep(HEAD_S / 10 if number % 4 else 0)
    assert received == 30_000_000


def test_connections_are_counted(address: str) -> None:
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connected(address, HEAD))
        assert b"503" in stack.enter_context(connected(address, HEAD)).recv(100)
    until = time.monotonic() + 10
    while httpx.get(address).status_code != 200:
        assert time.monotonic() < until, "the next ones are answered when the others have gone"
