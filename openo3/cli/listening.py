"""Commands that serve a page or an API: where they listen, and for whom."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from typing import TYPE_CHECKING

from openo3.cli.errors import InputError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

KEY_VARIABLE = "OPENO3_API_KEY"
_SHORTEST_KEY = 16


def add_address(parser: argparse._ActionsContainer, port: int = 8000) -> None:
    """`--host`, `--port` and `--api-key`."""
    parser.add_argument("--host", default="127.0.0.1", help="another address than this machine's needs a key")
    parser.add_argument("--port", type=int, default=port, help="0 chooses a free one")
    parser.add_argument("--api-key", metavar="KEY", help=f"by default the environment's {KEY_VARIABLE}")


def key_of(arguments: argparse.Namespace) -> str | None:
    """The API key, None where none is needed.

    Raises `InputError` for a short one, and where others reach the address without one.
    """
    key = arguments.api_key or os.environ.get(KEY_VARIABLE) or None
    if key is not None and len(key) < _SHORTEST_KEY:
        raise InputError(f"the API key has {len(key)} characters, at least {_SHORTEST_KEY}")
    if key is None and not _is_this_machine(arguments.host):
        raise InputError(
            f"--host {arguments.host}: others reach this address; set a key with --api-key or {KEY_VARIABLE}"
        )
    return key


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(arguments: argparse.Namespace) -> socket.socket:
    """Raises `InputError` where the port is taken."""
    host, port = arguments.host, arguments.port
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"{host} port {port}: {error.strerror or error}") from None
    except OverflowError:
        raise InputError(f"--port {port}: expected 0 to 65535") from None


def address_of(listening: socket.socket) -> str:
    """The address as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Serve until interrupted."""
    server_of(app).run(sockets=[listening])


def server_of(app: FastAPI) -> uvicorn.Server:
    """No request is logged, and no connection stays open for nothing."""
    import uvicorn

    from openo3.serving.connections import BoundedConnection

    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        log_level="error",  # below it, anybody's nonsense is a line of the log
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)
