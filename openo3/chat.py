"""Asking a model behind an OpenAI-compatible chat endpoint, within limits.

    Chat(url, "some-model").ask(["Grade this: ..."], read=parse_rating)      # many texts, one reading each

    async with Chat(url, "some-model").connected() as line:                  # anything else
        reply = await line.reply(Request([picture(jpeg), text("What is it?")], schema={...}))

A request takes at most `timeout_s` from its first byte to its last, and a reply has at most `REPLY_BYTES`.
Redirects are errors, so that the key never reaches another host.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2 as httpx
from tqdm import tqdm

T = TypeVar("T")
Part = dict[str, Any]
"""A part of a message as OpenAI's API has it; see `text`, `picture` and `video`."""

REPLY_BYTES = 4_000_000
"""A longer reply is given up: it counts as one that says nothing."""
_BUSY = (408, 429, 500, 502, 503, 504)
_LONGEST_WAIT_S = 60.0
_SAID_CHARS = 200


class Refused(ConnectionError):
    """The server answers, with another HTTP `status` than 200 that trying again would not change."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """One message of a user, after a `system` message unless that is empty.

    `schema` is a JSON schema that the reply is to satisfy. `more` are further fields of the request's body;
    one that is None is left out, also one of those that are set here, such as `temperature`. `max_tokens` is
    the chat's own without it.
    """

    content: str | Sequence[Part]
    max_tokens: int | None = None
    temperature: float = 0.0
    schema: Mapping[str, Any] | None = None
    system: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """The text that the model wrote, empty if the server's reply holds none or was cut off (`cut`).

    `read` and `written` are tokens as the server counts them, None where it does not say.
    """

    text: str
    cut: bool = False
    read: int | None = None
    written: int | None = None


@dataclass(frozen=True)
class Chat:
    """An endpoint: `url` is its base, up to and with `/v1`; `who` is what errors call it.

    `key_env` names the environment variable that holds its key. A busy or absent server is tried again, ever
    later, up to `attempts` times.
    """

    url: str
    model: str
    key_env: str = ""
    concurrency: int = 16
    attempts: int = 5
    timeout_s: float = 120.0
    max_tokens: int = 2048
    who: str = "judge"

    def ask(self, texts: Sequence[str], read: Callable[[str], T | None]) -> list[T | None]:
        """What `read` makes of each reply, in the order of the texts; None for a reply that it cannot read.

        Such a reply, empty, cut off or unclear, is asked for once more with twice the room. Raises
        `ConnectionError` if the server refused, or could not be reached in time.
        """
        return asyncio.run(self._ask_all(texts, read))

    async def _ask_all(self, texts: Sequence[str], read: Callable[[str], T | None]) -> list[T | None]:
        with tqdm(total=len(texts), desc=self.who, disable=None) as bar:
            async with self.connected() as line:

                async def one(asked: str) -> T | None:
                    said = read((await line.reply(Request(asked))).text)
                    if said is None:
                        said = read((await line.reply(Request(asked, 2 * self.max_tokens))).text)
                    bar.update()
                    return said

                return await asyncio.gather(*map(one, texts))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Line]:
        """Connections to the endpoint while the block lasts."""
        limits = httpx.Limits(max_connections=self.concurrency)
        # without a limit between two bytes: `Line.reply` limits the whole request
        async with httpx.AsyncClient(limits=limits, timeout=None, headers=self._headers()) as client:
            yield Line(self, client)

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.key_env) if self.key_env else None
        plain = {"Accept-Encoding": "identity"}
        return {**plain, "Authorization": f"Bearer {key}"} if key else plain


class Line:
    """An open connection to an endpoint; `concurrency` requests are under way at most."""

    def __init__(self, chat: Chat, client: httpx.AsyncClient) -> None:
        self.chat, self._client = chat, client
        self._gate = asyncio.Semaphore(chat.concurrency)

    async def reply(self, request: Request) -> Reply:
        """What the model replies.

        Raises `Refused`, and `ConnectionError` if the server could not be reached in time.
        """
        async with self._gate:
            return await self._insistently(self._body(request))

    async def _insistently(self, body: dict[str, Any]) -> Reply:
        problem, wait_s = "", 0.0
        for attempt in range(self.chat.attempts):
            if attempt:
                await asyncio.sleep(max(wait_s, min(2**attempt / 4, 30)))
            wait_s = 0.0
            try:
                async with asyncio.timeout(self.chat.timeout_s):
                    status, content, wait_s = await self._post(body)
            except TimeoutError:
                problem = f"no reply in {self.chat.timeout_s:g} s"
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # refused, reset, cut off, …
                problem = str(error) or type(error).__name__
            else:
                if status == 200:
                    return _read(content)
                problem = f"HTTP {status}{_explained(content)}"
                if status not in _BUSY:
                    raise Refused(f"{self.chat.who} at {self.chat.url}: {problem}", status)
        raise ConnectionError(f"{self.chat.who} at {self.chat.url}: {problem}")

    def _body(self, request: Request) -> dict[str, Any]:
        content = request.content if isinstance(request.content, str) else list(request.content)
        body: dict[str, Any] = {
            "model": self.chat.model,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens or self.chat.max_tokens,
            "messages": [
                *([{"role": "system", "content": request.system}] if request.system else []),
                {"role": "user", "content": content},
            ],
        }
        if request.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return {name: value for name, value in {**body, **request.more}.items() if value is not None}

    async def _post(self, body: dict[str, Any]) -> tuple[int, bytes, float]:
        """Status and content of a reply, and for how many seconds it asks to wait; no content of one that is
        too long."""
        url = f"{self.chat.url.rstrip('/')}/chat/completions"
        async with self._client.stream("POST", url, json=body) as reply:
            wait_s = _seconds(reply.headers.get("Retry-After", ""))
            content = bytearray()
            async for piece in reply.aiter_raw():
                content += piece
                if len(content) > REPLY_BYTES:
                    return reply.status_code, b"", wait_s
            return reply.status_code, bytes(content), wait_s


def text(said: str) -> Part:
    """A part of a message that is text."""
    return {"type": "text", "text": said}


def picture(content: bytes, kind: str = "image/jpeg") -> Part:
    """A part of a message that is a picture, as a data: address."""
    return {"type": "image_url", "image_url": {"url": _data_url(content, kind)}}


def video(content: bytes, kind: str = "video/mp4") -> Part:
    """A part of a message that is a whole video, which `openo3 serve` and vLLM take."""
    return {"type": "video_url", "video_url": {"url": _data_url(content, kind)}}


def _data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _read(content: bytes) -> Reply:
    """`choices[0].message.content` of a chat completion, empty for one that was cut off."""
    try:
        reply = json.loads(content)
        choice = reply["choices"][0]
        cut = choice.get("finish_reason") == "length"
        said = "" if cut else choice["message"]["content"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Reply("")
    usage = reply.get("usage")
    read, written = (
        _count(usage.get(name)) if isinstance(usage, dict) else None
        for name in ("prompt_tokens", "completion_tokens")
    )
    return Reply(said if isinstance(said, str) else "", cut, read, written)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else None


def _explained(content: bytes) -> str:
    """What an error object of OpenAI's kind says, in one line without control characters."""
    try:
        said = json.loads(content)["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    if not isinstance(said, str):
        return ""
    words = " ".join("".join(c if c.isprintable() else " " for c in said[: 2 * _SAID_CHARS]).split())
    return f": {words[:_SAID_CHARS]}" if words else ""


def _seconds(said: str) -> float:
    """A Retry-After header in seconds; 0 for none, and for a date."""
    return min(float(said), _LONGEST_WAIT_S) if said.isascii() and said.isdecimal() else 0.0
