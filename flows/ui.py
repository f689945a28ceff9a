"""Prefect's UI for this checkout: a server of its own, the report's pages, and the served deployments.

    python -m flows.ui [--port 4200] [options of flows.serve]

Everything listens on this machine alone. The server's database and settings are below `.cache/prefect`.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import flows  # noqa: F401  (sets Prefect's environment before anything reads it)
from flows.command import guarded

HOST = "127.0.0.1"
START_S = 180
ASK_S = 0.25  # a server of one's own may be asked often: somebody who presses Run waits for it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], add_help=False)
    parser.add_argument("--port", type=int, default=4200)
    given, rest = parser.parse_known_args()
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{given.port}/api"
    for port, what in ((given.port, "the server"), (given.port + 1, "the report's pages")):
        if not _free(port):
            print(f"port {port}, for {what}, is in use; others: make ui PORT=4300", file=sys.stderr)
            return 2
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    from flows import serve  # imports Prefect, which reads the environment once

    options = serve.options(rest)
    server = _start_server(given.port)
    try:
        pages = serve_pages(Path("reports"), given.port + 1)
        os.environ["OPENO3_PAGES_URL"] = f"http://{HOST}:{pages.server_port}"
        print(f"Prefect: http://{HOST}:{given.port}   (ends with Ctrl-C)", flush=True)
        serve.main(options, ASK_S)
    except KeyboardInterrupt:
        return 0
    finally:
        server.stdin.close()  # its guard ends it
        server.wait()
    return 0


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def _start_server(port: int) -> subprocess.Popen:
    """Under guard, so that it ends with this process; its words are in `.cache/prefect/server.log`."""
    home = Path(os.environ["PREFECT_HOME"])
    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [
                *(*guarded(), sys.executable, "-m", "prefect"),
                *("server", "start", "--host", HOST, "--port", str(port)),
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while not _healthy(port):
        if server.poll() is not None or time.monotonic() > deadline:
            server.stdin.close()
            raise SystemExit(f"the Prefect server did not start, see {home / 'server.log'}")
        time.sleep(0.2)
    return server


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/api/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


def serve_pages(folder: Path, port: int) -> ThreadingHTTPServer:
    """The report and the validation page, for links from a run's page."""
    server = ThreadingHTTPServer((HOST, port), partial(_Quiet, directory=str(folder.absolute())))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    sys.exit(main())
