"""Compare fetching 1 % of the members of a split zip with fetching and unpacking all of it.

    python -m bench.fetch [--size MB] [--share 0.01] [--mbit 400]

A server on this machine has the archive, made by the `zip` tool; both ways go through the same client at the
same bandwidth. "Whole" is what one does otherwise: fetch every part, join them with `zip -s 0`, and `unzip`
what is wanted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from openo3.fetch.http import Http
from openo3.fetch.limits import Limits
from openo3.fetch.plan import Item, Plan
from openo3.fetch.sync import sync
from openo3.fetch.zips import ZipArchive
from tools.hub_server import HubServer

MEMBER = 1_000_000
PARTS = 12


@dataclass(frozen=True)
class Measured:
    way: str
    seconds: float
    sent: int
    requests: int
    disk: int


def make(folder: Path, megabytes: int) -> list[Path]:
    """Make a split archive of uncompressed members of 1 MB; return its parts, the last one last."""
    members = folder / "members"
    members.mkdir()
    chance = np.random.default_rng(0)
    for number in range(megabytes):
        (members / f"clip_{number:05d}.mp4").write_bytes(chance.bytes(MEMBER))
    part = f"{max(1, megabytes // PARTS)}m"
    command = ["zip", "--quiet", "-0", "-r", "-s", part, folder / "videos.zip", "members"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(members)
    return [*sorted(folder.glob("videos.z[0-9]*")), folder / "videos.zip"]


def serve(parts: list[Path], to: Connection) -> None:
    """Run a server that answers each message with the bytes and requests since the last message."""
    with HubServer() as server:
        to.send({part.suffix: server.put(part.name, part) for part in parts})
        while to.recv():
            to.send((server.sent(), len(server.requests)))
            server.requests.clear()


def selective(http: Http, addresses: dict[str, str], wanted: list[str], folder: Path, limits: Limits) -> None:
    archive = ZipArchive.open(http.file(addresses[".zip"]), lambda suffix: http.file(addresses[suffix]))
    members = {member.path: member for member in archive.members}
    plan = Plan([Item(f"media/{path}", members[path], "bench") for path in wanted])
    sync(plan, folder / "selective", folder / "known", limits)


def whole(http: Http, addresses: dict[str, str], wanted: list[str], folder: Path) -> None:
    def fetch(suffix: str) -> None:
        with http.file(addresses[suffix]).stream() as stream, open(target / f"videos{suffix}", "wb") as file:
            while piece := stream.read(1 << 20):
                file.write(piece)

    target = folder / "whole"
    target.mkdir()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fetch, addresses))
    joined = target / "joined.zip"
    subprocess.run(
        ["zip", "--quiet", "-s", "0", target / "videos.zip", "--out", joined],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    subprocess.run(["unzip", "-q", joined, *wanted, "-d", target], check=True)


def measure(way: str, run: Callable[[], None], folder: Path, server: Any) -> Measured:
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    server.send(True)
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sent, requests = server.recv()
    return Measured(way, seconds, sent, requests, disk)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1000, help="MB of the archive")
    parser.add_argument("--share", type=float, default=0.01, help="of the members that is wanted")
    parser.add_argument("--mbit", type=float, default=400, help="bandwidth per second; 0: as fast as it goes")
    arguments = parser.parse_args()
    limits = Limits(threads=8, bandwidth_mb_s=arguments.mbit / 8 or None)
    with tempfile.TemporaryDirectory(prefix="openo3-bench-") as name, Http(limits) as http:
        folder = Path(name)
        parts = make(folder, arguments.size)
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(parts, theirs), daemon=True)
        server.start()
        addresses = ours.recv()
        step = max(1, round(1 / arguments.share))
        wanted = [f"members/clip_{number:05d}.mp4" for number in range(0, arguments.size, step)]
        measured = [
            measure(
                "selective",
                lambda: selective(http, addresses, wanted, folder, limits),
                folder / "selective",
                ours,
            ),
            measure("whole", lambda: whole(http, addresses, wanted, folder), folder / "whole", ours),
        ]
        for path in wanted:
            same = (folder / "whole" / path).read_bytes() == (folder / "selective/media" / path).read_bytes()
            assert same, path
        ours.send(False)
        server.join()
    table = Table(
        title=f"{len(wanted)} of {arguments.size} members, {len(parts)} parts, {arguments.mbit:g} Mbit/s"
    )
    for column in ("", "seconds", "MB fetched", "requests", "MB of disk"):
        table.add_column(column, justify="right")
    for each in measured:
        numbers = (
            f"{each.seconds:.2f}",
            f"{each.sent / 1e6:,.1f}",
            str(each.requests),
            f"{each.disk / 1e6:,.1f}",
        )
        table.add_row(each.way, *numbers)
    Console(width=90).print(table)


if __name__ == "__main__":
    main()
