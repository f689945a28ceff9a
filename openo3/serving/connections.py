"""Connections that ask nothing, or read nothing of their answers, are closed: for any server of uvicorn.

    uvicorn.Config(app, http=BoundedConnection)
    python -m uvicorn --http openo3.serving.connections:BoundedConnection ...

uvicorn itself limits only how long a connection may stay silent between two requests (`timeout_keep_alive`).
How long a body takes to arrive, and an answer to be made, is limited by those who read and make them.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 256
"""Open at the same time; further ones get status 503. Below the usual limit of 1,024 open files."""
HEAD_S = 15.0
"""From a connection's start, or the end of its last answer, to the last byte of a request's head."""
STUCK_S = 120.0
"""For which an answer may lie here while its client reads nothing. Browsers that pause a video do so."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 5\r\n\r\n"
)


class BoundedConnection(H11Protocol):
    """One connection; `connections` holds all of its server."""

    _waits: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.write(_FULL)
            transport.close()
        self._waits = self.loop.call_later(HEAD_S, self._asked_nothing)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self._waits is not None:
            self._waits.cancel()

    def handle_websocket_upgrade(self, event: object) -> None:
        self._forget()  # the connection is another protocol's from here on
        super().handle_websocket_upgrade(event)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        self._waits = self.loop.call_later(HEAD_S, self._asked_nothing)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def _asked_nothing(self) -> None:
        """Its last answer may still be on its way, also where the connection is about to be closed."""
        if self.transport.get_write_buffer_size():
            self._watch()
        else:
            self.transport.abort()

    def _watch(self, before: int | None = None) -> None:
        """Look every `STUCK_S` whether the client took something of the `before` bytes that lay here."""
        size = self.transport.get_write_buffer_size()
        if self._stuck is not None:
            self._stuck.cancel()
        if before is not None and size >= before:
            self.transport.abort()
        else:
            self._stuck = self.loop.call_later(STUCK_S, self._watch, size)

    def _forget(self) -> None:
        for timer in (self._waits, self._stuck):
            if timer is not None:
                timer.cancel()
