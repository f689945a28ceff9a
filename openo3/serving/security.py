"""Who may ask, from where, and what the page may load. One ASGI middleware around the whole application.

- With a key, every address but the page's own needs it.
- Without one, the server listens on this machine alone, and the Host header must name it: a web page of
  somebody else's whose name was made to point here (DNS rebinding) gets nothing.
- A browser says from which page a request comes; other pages than the server's own are refused.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openo3.serving.errors import ApiError

LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """`api_key` is `None` where none is needed; `open_paths` need none."""

    def __init__(self, app: ASGIApp, api_key: str | None, open_paths: frozenset[str]) -> None:
        self.app, self.api_key, self.open_paths = app, api_key, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = self._refused(scope["path"], Headers(scope=scope))
        await (refused.response() if refused else self.app)(scope, receive, guarded)

    def _refused(self, path: str, headers: Headers) -> ApiError | None:
        host = headers.get("host", "")
        if self.api_key is None and _name(host) not in LOCAL_HOSTS:
            return ApiError(403, f"host {host[:80]!r}: this server answers as localhost only", code="host")
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host:
            return ApiError(403, "a page of another site may not ask", code="origin")
        if self.api_key is None or path in self.open_paths:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self.api_key.encode())
        if scheme.lower() == "bearer" and same:
            return None
        return ApiError(401, "the API key is missing or wrong", code="invalid_api_key")


def _netloc(origin: str) -> str | None:
    """Host and port of an origin; None for what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str | None:
    """A host without its port; None for what is no host."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
