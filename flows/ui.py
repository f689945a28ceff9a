"""Prefect's UI for this checkout: a server of its own, the report's pages, and the served deployments.

    python -m flows.ui [--port 4200] [options of flows.serve]

Everything listens on this machine alone, see `flows.server` for who may use it. The server's database and
settings are in `.cache/prefect`, which only its owner can read.

The UI asks for a user name and password (Prefect's "auth string"), printed once with the link. A new one is
made at each start, unless PREFECT_SERVER_API_AUTH_STRING is set.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import flows  # noqa: F401  (sets Prefect's environment before anything reads it)
from flows.command import guarded

HOST = "127.0.0.1"
HOSTS = (HOST, "localhost")
START_S = 180
ASK_S = 0.25  # a server of one's own may be asked often: somebody who presses Run waits for it


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], add_help=False)
    parser.add_argument("--port", type=_port, default=4200)
    given, rest = parser.parse_known_args()
    auth = _secure(given.port)
    for port, what in ((given.port, "the server"), (given.port + 1, "the report's pages")):
        if not _free(port):
            print(f"port {port}, for {what}, is in use; others: make ui PORT=4300", file=sys.stderr)
            return 2
    _make_private(Path(os.environ["PREFECT_HOME"]))
    from flows import serve  # imports Prefect, which reads the environment once

    options = serve.options(rest)
    server = _start_server(given.port)
    try:
        pages = serve_pages(Path("reports"), given.port + 1)
        os.environ["OPENO3_PAGES_URL"] = f"http://{HOST}:{pages.server_port}"
        print(f"Prefect: http://{HOST}:{given.port}   (ends with Ctrl-C)\nLog in with: {auth}", flush=True)
        serve.main(options, ASK_S)
    except KeyboardInterrupt:
        return 0
    finally:
        _stop_server(server)
    return 0


def _port(text: str) -> int:
    """The server's port; the report's pages take the next one."""
    if not text.isdecimal() or not 1 <= int(text) <= 65534:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port between 1 and 65534")
    return int(text)


def _secure(port: int) -> str:
    """Set the server's and the clients' environment for `port`; the auth string, as USER:PASSWORD.

    Variables that are set already keep their value.
    """
    auth = os.environ.setdefault("PREFECT_SERVER_API_AUTH_STRING", f"openo3:{secrets.token_urlsafe(18)}")
    origins = f"http://{HOST}:{port},http://localhost:{port}"
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{port}/api"
    os.environ["PREFECT_API_AUTH_STRING"] = auth
    os.environ.setdefault("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", origins)
    os.environ.setdefault("PREFECT_SERVER_CSRF_PROTECTION_ENABLED", "true")
    return auth


def _make_private(home: Path) -> None:
    """Let only the owner read the database: it holds secret blocks and the key that encrypts them."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    for name in ("prefect.db", "prefect.db-wal", "prefect.db-shm", "server.log"):
        if (home / name).exists():
            (home / name).chmod(0o600)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def _start_server(port: int) -> subprocess.Popen[bytes]:
    """Start it under guard, so that it ends with this process; it logs to `.cache/prefect/server.log`."""
    home = Path(os.environ["PREFECT_HOME"])
    (home / "server.log").touch(0o600)
    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [
                *(*guarded(), sys.executable, "-m", "uvicorn", "--factory", "flows.server:app"),
                *("--http", "openo3.serving.connections:BoundedConnection"),
                *("--host", HOST, "--port", str(port), "--no-access-log", "--log-level", "warning"),
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o077,
        )
    deadline = time.monotonic() + START_S
    while not _healthy(port):
        if server.poll() is not None or time.monotonic() > deadline:
            _stop_server(server)
            raise SystemExit(f"the Prefect server did not start, see {home / 'server.log'}")
        time.sleep(0.2)
    return server


def _stop_server(server: subprocess.Popen[bytes]) -> None:
    """Close the pipe to its guard, which ends the server, and wait for it."""
    if server.stdin:
        server.stdin.close()
    server.wait()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/api/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


class _Pages(SimpleHTTPRequestHandler):
    timeout = 30  # seconds in which a connection sends or takes nothing; each has a thread

    def parse_request(self) -> bool:
        """Refuse foreign host names: any name can be made to resolve to 127.0.0.1."""
        if not super().parse_request():
            return False
        if self.headers.get("Host", "").partition(":")[0] in HOSTS:
            return True
        self.send_error(HTTPStatus.BAD_REQUEST, "Invalid host header")
        return False

    def end_headers(self) -> None:
        """Let no page of another origin show these, or run their data as scripts: both need no login."""
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *_: object) -> None:
        """Print nothing on the terminal."""


def serve_pages(folder: Path, port: int) -> ThreadingHTTPServer:
    """The report and the validation page, for links from a run's page."""
    server = ThreadingHTTPServer((HOST, port), partial(_Pages, directory=str(folder.absolute())))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    sys.exit(main())
