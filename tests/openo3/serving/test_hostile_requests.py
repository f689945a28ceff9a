"""Requests that are wrong on purpose: each is refused in OpenAI's form, and the server answers the next."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from openo3.serving.app import Server, _Events
from openo3.serving.limits import ServingLimits
from tests.openo3.serving.conftest import NAME, SMALL

FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhi\r\n--x--\r\n'
MULTIPART = "multipart/form-data; boundary=x"


def refused(answer: httpx.Response, *statuses: int) -> str:
    assert answer.status_code in statuses, answer.text[:200]
    return answer.json()["error"]["message"]


@pytest.fixture(autouse=True)
def _the_server_still_answers(address: str) -> Iterator[None]:
    yield
    body = {"model": NAME, "messages": [{"role": "user", "content": "What?"}], "max_tokens": 2}
    assert httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", ""),
        (b"hello", MULTIPART),
        (FORM, "multipart/form-data"),
        (FORM, "application/x-www-form-urlencoded"),
        (FORM, f"{MULTIPART}; charset=undefined"),
        (FORM, f"multipart/form-data; boundary={'y' * 5000}"),
        (FORM.replace(b"form-data; name", b"\xff\xfe; n\xe9me"), MULTIPART),
        (b"--x\r\nbad header\r\n\r\n", MULTIPART),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nhi\r\n--x--\r\n", MULTIPART),
        (b"--x\r\n" + b"A: b\r\n" * 20_000 + b"\r\nhi\r\n--x--\r\n", MULTIPART),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nhi\r\n--x--\r\n', MULTIPART),
    ],
)
def test_what_is_no_form_with_a_file_is_refused(address: str, content: bytes, kind: str) -> None:
    refused(httpx.post(f"{address}/v1/files", content=content, headers={"Content-Type": kind}), 400)


def test_uploads_that_arrive_at_the_same_time_count_too(address: str) -> None:
    """Slow ones would otherwise fill the disk, however few may wait for a question."""
    host, port = address.removeprefix("http://").split(":")
    head = f"Host: {host}\r\nContent-Type: {MULTIPART}\r\nContent-Length: 1000000"
    begun = f"POST /v1/files HTTP/1.1\r\n{head}\r\n\r\n"
    slow = [socket.create_connection((host, int(port))) for _ in range(SMALL.uploads)]
    try:
        for each in slow:
            each.sendall(begun.encode() + FORM[:70] + b"z" * 10_000)
        until = time.monotonic() + 60
        send = {"content": FORM, "headers": {"Content-Type": MULTIPART}}
        while (answer := httpx.post(f"{address}/v1/files", **send)).status_code == 200:
            httpx.delete(f"{address}/v1/files/{answer.json()['id']}")
            assert time.monotonic() < until
        assert "arrive or wait" in refused(answer, 429)
    finally:
        for each in slow:
            each.close()
    until = time.monotonic() + 60
    while (answer := httpx.post(f"{address}/v1/files", **send)).status_code != 200:
        assert time.monotonic() < until, "places of clients that have gone are free again"
    httpx.delete(f"{address}/v1/files/{answer.json()['id']}")


@pytest.mark.parametrize("path", ["/v1/files", "/v1/chat/completions"])
def test_a_client_that_goes_away_while_it_sends_is_no_error_of_the_server(address: str, path: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    kind = MULTIPART if path == "/v1/files" else "application/json"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 99\r\n\r\n"
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("uvicorn.error").addHandler(handler)
    try:
        with socket.create_connection((host, int(port))) as gone:
            gone.sendall(head.encode() + FORM[:20])
            time.sleep(0.2)
        time.sleep(0.5)
    finally:
        logging.getLogger("uvicorn.error").removeHandler(handler)
    assert said == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"temperature": 1e-9}, "temperature"),
        ({"temperature": 5e-324, "n": 2}, "temperature"),
        ({"seed": 2**70}, "seed"),
        ({"model": "\U0001f600" * 50_000}, "model"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": " "}] * 1000}]}, "empty"),
        ({"max_tokens": 2**70}, "max_tokens"),
        ({"messages": [1] * 200_000}, "more than 20,000 values"),  # gigabytes, once each has its error
        ({"user": [[]] * 200_000}, "more than 20,000 values"),
        ({"metadata": [{}] * 200_000}, "more than 20,000 values"),
    ],
)
def test_numbers_and_texts_beyond_all_sense_are_refused(address: str, changed: dict, named: str) -> None:
    body: dict[str, Any] = {
        "model": NAME,
        "messages": [{"role": "user", "content": "What?"}],
        "max_tokens": 2,
    }
    answer = httpx.post(f"{address}/v1/chat/completions", json={**body, **changed}, timeout=60)
    assert named in refused(answer, 400, 404)


@pytest.mark.parametrize("path", ["/examples/abc", "/examples/1e3", "/examples/99", "/v1/models/%00", "/%ff"])
def test_paths_that_name_nothing_are_not_found(address: str, path: str) -> None:
    refused(httpx.get(f"{address}{path}"), 404)


@pytest.mark.parametrize("origin", ["http://[::1", "http://a\u2100", ""])
def test_an_origin_that_is_no_address_is_refused(address: str, origin: str) -> None:
    headers = {"Origin": origin.encode("latin-1", "replace")}
    refused(httpx.get(f"{address}/status", headers=headers), 403)


def test_a_client_that_reads_nothing_loses_its_place() -> None:
    """Its socket is full: sending never ends."""

    class Line:
        left: float | None = None

        def leave(self, job: Any, claimed: Any) -> None:
            self.left = time.monotonic()

    class Job:
        deadline = time.monotonic() + 0.1

    async def words() -> AsyncIterator[str]:
        yield "data: 1\n\n"

    async def connected() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def full(message: Any) -> None:
        await asyncio.Event().wait()

    line: Any = Line()
    server: Server = line
    job: Any = Job()
    stream = _Events(words(), server, job, None)
    begun = time.monotonic()
    asyncio.run(stream({"type": "http", "asgi": {"spec_version": "2.3"}}, connected, full))
    assert line.left is not None
    assert line.left - begun < 60


@pytest.mark.parametrize("limit", [float("inf"), float("nan"), 0, -1])
def test_a_limit_that_limits_nothing_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match=r"request_mb is .*, must be a number greater than 0"):
        ServingLimits(request_mb=limit)
