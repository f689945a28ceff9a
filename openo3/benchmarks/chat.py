"""Many texts asked of a language model behind an OpenAI-compatible chat endpoint, within limits.

    Chat(url, "some-model").ask(["Grade this: ..."], read=parse_rating)

A request takes at most `timeout_s` from its first byte to its last, and a reply has at most `REPLY_BYTES`.
Redirects are errors, so that the key never reaches another host.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2 as httpx
from tqdm import tqdm

T = TypeVar("T")

REPLY_BYTES = 4_000_000
"""A longer reply is given up: it counts as one that says nothing."""
_BUSY = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Chat:
    """An endpoint: `url` is its base, up to and with `/v1`.

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

    def ask(self, texts: Sequence[str], read: Callable[[str], T | None]) -> list[T | None]:
        """What `read` makes of each reply, in the order of the texts; None for a reply that it cannot read.

        Such a reply, empty, cut off or unclear, is asked for once more with twice the room. Raises
        `ConnectionError` if the server refused, or could not be reached in time.
        """
        return asyncio.run(self._ask_all(texts, read))

    async def _ask_all(self, texts: Sequence[str], read: Callable[[str], T | None]) -> list[T | None]:
        gate = asyncio.Semaphore(self.concurrency)
        limits = httpx.Limits(max_connections=self.concurrency)
        with tqdm(total=len(texts), desc="judge", disable=None) as bar:
            # without a limit between two bytes: `_reply` limits the whole request
            async with httpx.AsyncClient(limits=limits, timeout=None, headers=self._headers()) as client:

                async def one(text: str) -> T | None:
                    async with gate:
                        said = read(await self._reply(client, text, self.max_tokens))
                        if said is None:
                            said = read(await self._reply(client, text, 2 * self.max_tokens))
                    bar.update()
                    return said

                return await asyncio.gather(*map(one, texts))

    async def _reply(self, client: httpx.AsyncClient, text: str, max_tokens: int) -> str:
        """The text that the model replies; empty if the server's reply holds none."""
        body = {"model": self.model, "temperature": 0, "max_tokens": max_tokens}
        body["messages"] = [{"role": "user", "content": text}]
        problem = ""
        for attempt in range(self.attempts):
            if attempt:
                await asyncio.sleep(min(2**attempt / 4, 30))
            try:
                async with asyncio.timeout(self.timeout_s):
                    status, content = await self._post(client, body)
            except TimeoutError:
                problem = f"no reply in {self.timeout_s:g} s"
            except (httpx.HTTPError, OSError) as error:  # refused, reset, cut off, unknown host
                problem = str(error) or type(error).__name__
            else:
                if status == 200:
                    return _content(content)
                problem = f"HTTP {status}"
                if status not in _BUSY:
                    break
        raise ConnectionError(f"judge at {self.url}: {problem}")

    async def _post(self, client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and content of a reply; no content if it is too long."""
        async with client.stream("POST", f"{self.url.rstrip('/')}/chat/completions", json=body) as reply:
            content = bytearray()
            async for piece in reply.aiter_raw():
                content += piece
                if len(content) > REPLY_BYTES:
                    return reply.status_code, b""
            return reply.status_code, bytes(content)

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.key_env) if self.key_env else None
        plain = {"Accept-Encoding": "identity"}
        return {**plain, "Authorization": f"Bearer {key}"} if key else plain


def _content(reply: bytes) -> str:
    """`choices[0].message.content` of a chat completion, empty for one that was cut off."""
    try:
        choice = json.loads(reply)["choices"][0]
        content = "" if choice.get("finish_reason") == "length" else choice["message"]["content"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return content if isinstance(content, str) else ""
