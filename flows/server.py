"""Prefect's server for this machine's user alone: `uvicorn --factory flows.server:app`.

Any page that is open in a browser can send requests to a server on the same machine. Four things keep other
pages and other users out:

- the `Host` header must name this machine, so that a foreign name that resolves to 127.0.0.1 gets nothing;
- CORS headers allow the UI's own origin only (PREFECT_SERVER_CORS_ALLOWED_ORIGINS);
- changes need a CSRF token (PREFECT_SERVER_CSRF_PROTECTION_ENABLED);
- every request needs the auth string (PREFECT_SERVER_API_AUTH_STRING).

`flows.ui` sets these variables; Prefect has no setting for allowed hosts, hence this module.
"""

from __future__ import annotations

from prefect.server.api.server import create_app
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from flows.ui import HOSTS


def app() -> ASGIApp:
    return TrustedHostMiddleware(create_app(final=True), allowed_hosts=HOSTS, www_redirect=False)
