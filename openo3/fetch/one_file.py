"""One public file behind an https address, for a question about it.

download("https://example.org/clip.mp4", Path("clip.mp4"), max_bytes=1 << 30)
"""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

from openo3.fetch.addresses import networks
from openo3.fetch.http import Http, shown
from openo3.fetch.limits import Limits
from openo3.fetch.plan import FetchError, Unavailable, Unfinished

LIMITS = Limits(tries=3, stall_s=15.0)
TIME_LIMIT_S = 600.0
_LONGEST = 4000  # characters of an address


def download(url: str, path: Path, max_bytes: int) -> None:
    """Fetch a file of at most `max_bytes` within `TIME_LIMIT_S`, redirects followed.

    Raises `FetchError` with one line: not an https address, one in a private network, or not to be had.
    """
    host = https_host(url)
    if host is None:
        raise FetchError(f"{url[:80]}: not an https address")
    if inside := networks(host) - {"public"}:
        raise FetchError(f"{shown(url)}: {host} is in a private network ({', '.join(sorted(inside))})")
    with Http(LIMITS) as http:
        transfer(http, url, path, max_bytes, TIME_LIMIT_S)


def transfer(http: Http, url: str, path: Path, max_bytes: int, limit_s: float) -> None:
    """Write the file behind an address to `path`. Raises `FetchError`."""
    end = time.monotonic() + limit_s
    try:
        found = http.file(url)
        if (found.size or 0) > max_bytes:
            raise FetchError(f"{shown(url)}: {found.size:,} bytes, at most {max_bytes:,}")
        count = 0
        with found.stream() as stream, path.open("wb") as file:
            while piece := stream.read():
                count += len(piece)
                if count > max_bytes:
                    raise FetchError(f"{shown(url)}: more than {max_bytes:,} bytes")
                if time.monotonic() > end:
                    raise FetchError(f"{shown(url)}: not fetched within {limit_s:g} s")
                file.write(piece)
    except (Unavailable, Unfinished) as error:
        raise FetchError(str(error)) from None


def https_host(url: str) -> str | None:
    """The host of an https address; None for any other text."""
    try:
        parts = urlsplit(url)
        return parts.hostname if parts.scheme == "https" and len(url) <= _LONGEST else None
    except ValueError:
        return None
