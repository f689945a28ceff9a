"""Bodies of requests, of bounded size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fastapi import Request

from openo3.serving.errors import ApiError, too_large


async def read_body(request: Request, most: int, within_s: float) -> bytes:
    """Raises `ApiError` for a body of more than `most` bytes, and for one that takes too long."""
    pieces = []
    try:
        async with asyncio.timeout(within_s):
            async for piece in limited(request, most):
                pieces.append(piece)
    except TimeoutError:
        raise ApiError(408, f"the request took longer than {within_s:g} s to arrive") from None
    return b"".join(pieces)


async def limited(request: Request, most: int, around: int = 0) -> AsyncGenerator[bytes, None]:
    """The body, of at most `most` bytes and `around` for what they are wrapped in."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most + around:
        raise too_large(most)
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most + around:
            raise too_large(most)
        yield piece
