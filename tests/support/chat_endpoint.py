"""A chat endpoint on this machine, whose replies a test decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], "str | tuple[int, bytes]"]
"""A request's body -> the text that the model replies, or a status and a body."""


@dataclass
class Endpoint:
    """`bodies` are the requests so far, `keys` their Authorization headers."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


def said(body: dict[str, Any]) -> str:
    """The text of a request."""
    content = body["messages"][-1]["content"]
    return (
        content if isinstance(content, str) else "\n".join(p["text"] for p in content if p["type"] == "text")
    )


def pictures(body: dict[str, Any]) -> int:
    """How many pictures and videos a request shows."""
    content = body["messages"][-1]["content"]
    return 0 if isinstance(content, str) else sum(part["type"] != "text" for part in content)


@contextmanager
def endpoint(answer: Answer) -> Iterator[Endpoint]:
    """An OpenAI-compatible server while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.bodies.append(body)
            found.keys.append(self.headers["Authorization"])
            reply = answer(body)
            status, content = (200, completion(reply)) if isinstance(reply, str) else reply
            self.send_response(status)
            if status == 307:
                self.send_header("Location", f"{found.url}/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Endpoint(f"http://127.0.0.1:{server.server_port}/v1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def completion(text: str | None, finish: str = "stop") -> bytes:
    """A chat completion as servers write it."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    return json.dumps({"choices": [choice], "usage": usage}).encode()
