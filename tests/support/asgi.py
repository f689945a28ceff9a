"""An application behind the server of `openo3 serve` and `look --serve`, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from openo3.cli.listening import server_of


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The application's address, on a free port, while the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
