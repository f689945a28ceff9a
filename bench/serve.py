"""How fast `openo3 serve` answers: N requests at once against the same ones one after another.

    python -m bench.serve --model data/models/gspo

Each request is another clip of the shapes world with a question, sent as a data: address and streamed. The
server runs in this process, its client in another. Every way is measured `--rounds` times in turn, and the
fastest round counts: other work on the machine only ever slows one down. `CPU s` is the processor time of the
server without the processes that decode clips; it depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import torch
import uvicorn

from openo3.inference.model import Model, load
from openo3.serving.app import Access, create_app
from openo3.serving.decoders import Batches, Decoder
from openo3.serving.limits import ServingLimits
from openo3.shapes.benchmarks import vstar_records
from openo3.shapes.clips import Clip
from openo3.shapes.media_files import write_video

SEED = 11
WIDTHS = (11, 10, 20, 20, 7, 7)


@dataclass(frozen=True)
class Timing:
    """Of one request, in seconds since it was sent; `claim_s` is None if nothing was cited."""

    claim_s: float | None
    whole_s: float
    tokens: int


@dataclass(frozen=True)
class Round:
    """All requests of one way: seconds from the first to the end of the last, each one's timing, and the
    server's processor time."""

    total_s: float
    timings: list[Timing]
    cpu_s: float = 0.0


def main() -> int:
    arguments = _arguments()
    model = load(arguments.model)
    bodies = _bodies(Path(model.name).resolve().name, arguments.requests, arguments.max_tokens)
    limits = ServingLimits(concurrent=arguments.requests, queued=arguments.requests)
    ways = {
        "one after another": (None, 1),
        "at once, joining": (None, arguments.requests),
        "at once, whole batches": (Batches(model.engine, arguments.requests), arguments.requests),
    }
    best: dict[str, Round] = {}
    with ProcessPoolExecutor(1, get_context("spawn")) as client:
        for _ in range(arguments.rounds):
            for name, (decoder, together) in ways.items():
                with _serving(model, limits, decoder) as address:
                    client.submit(
                        _send, address, bodies[:2], 2
                    ).result()  # processes that decode have started
                    before = time.process_time()
                    found = client.submit(_send, address, bodies, together).result()
                    found = replace(found, cpu_s=time.process_time() - before)
                if name not in best or found.total_s < best[name].total_s:
                    best[name] = found
    _print(model, best, arguments)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="by default the last checkpoint of this checkout")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=300)
    return parser.parse_args()


def _bodies(model: str, count: int, max_tokens: int) -> list[dict[str, Any]]:
    bodies = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            clip, path = Clip.sample(SEED, "vstar", index), Path(folder) / f"{index}.mp4"
            write_video(path, clip.scene)
            url = f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"
            question = vstar_records(clip, 1)[0]["question"]
            content = [
                {"type": "video_url", "video_url": {"url": url}},
                {"type": "text", "text": question},
            ]
            bodies.append(
                {
                    "model": model,
                    "messages": [{"role": "user", "content": content}],
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "max_tokens": max_tokens,
                }
            )
    return bodies


@contextmanager
def _serving(model: Model, limits: ServingLimits, decoder: Decoder | None) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = create_app(model, limits, Access(), decoder)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _send(address: str, bodies: list[dict[str, Any]], together: int) -> Round:
    return asyncio.run(_round(address, bodies, together))


async def _round(address: str, bodies: list[dict[str, Any]], together: int) -> Round:
    """Send all bodies, `together` at a time."""
    places = asyncio.Semaphore(together)
    async with httpx.AsyncClient(base_url=address, timeout=None) as client:

        async def send(body: dict[str, Any]) -> Timing:
            async with places:
                return await _ask(client, body)

        started = time.monotonic()
        timings = await asyncio.gather(*map(send, bodies))
        return Round(time.monotonic() - started, timings)


async def _ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Timing:
    started, claim_s, tokens = time.monotonic(), None, 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if "error" in chunk:
                sys.exit(f"bench.serve: {chunk['error']['message']}")
            if usage := chunk.get("usage"):
                tokens = usage["completion_tokens"]
            cited = any((choice.get("evidence") or {}).get("claims") for choice in chunk["choices"])
            if cited and claim_s is None:
                claim_s = time.monotonic() - started
    return Timing(claim_s, time.monotonic() - started, tokens)


def _print(model: Model, best: dict[str, Round], arguments: argparse.Namespace) -> None:
    print(
        f"{model.name}, {arguments.requests} requests, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, fastest of {arguments.rounds} rounds"
    )
    titles = ("requests/s", "tokens/s", "first claim s", "whole answer s", "times", "CPU s")
    print(" " * 24 + "".join(f"{title:>{width}}" for title, width in zip(titles, WIDTHS, strict=True)))
    first = next(iter(best.values()))
    for name, found in best.items():
        claims = [timing.claim_s for timing in found.timings if timing.claim_s is not None]
        whole = [timing.whole_s for timing in found.timings]
        tokens = sum(timing.tokens for timing in found.timings)
        print(
            f"{name:24}{len(whole) / found.total_s:11.2f}{tokens / found.total_s:10.0f}"
            f"{_spread(claims):>20}{_spread(whole):>20}{first.total_s / found.total_s:7.2f}{found.cpu_s:7.1f}"
        )


def _spread(values: list[float]) -> str:
    """The median, and the largest."""
    return f"{statistics.median(values):.2f} (max {max(values):.2f})" if values else "-"


if __name__ == "__main__":
    sys.exit(main())
