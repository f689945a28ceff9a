"""The Parquet shards of a frame store, each of which tells by itself what it holds.

    write_shard(Path("frames-91ab.parquet"), rows)
    shard_rows(Path("frames-91ab.parquet"))
    -> {"videos/shapes/videos/000012.mp4": {"digest": "...", "fingerprint": "...", "size": [128, 96],
                                            "duration_s": 9.6, "frames": 18, "key_frames": 2,
                                            "content": "..."}, ...}

That list is in the footer, beside Parquet's own metadata, so it is read in milliseconds without the rows.
`content` is a digest of the row: `ShardIndex` reads every row and leaves out those that are damaged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from openo3.files.artifacts import atomic_file
from openo3.media.frame_store import SCHEMA

_FACTS = b"openo3"


class FrameRow(NamedTuple):
    """A row group of one row, and what the shard's footer and the index say about it."""

    media: str
    facts: dict[str, Any]
    table: pa.Table


class ShardIndex:
    """The undamaged rows in a store's shards by media and fingerprint; the store need not be complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, dict[str, dict[str, Any]]] = {}
        self._where: dict[tuple[str, str], tuple[str, int]] = {}
        for file in sorted(folder.glob("*.parquet")):
            self._held[file.name] = {}
            for place, media, facts in _intact_rows(file):
                self._held[file.name][media] = facts
                self._where[media, facts["fingerprint"]] = (file.name, place)

    def marks(self, shard: str) -> dict[str, str]:
        """media -> fingerprint of a shard's undamaged rows; empty if there is no such shard."""
        return {media: facts["fingerprint"] for media, facts in self._held.get(shard, {}).items()}

    def has(self, media: str, mark: str) -> bool:
        return (media, mark) in self._where

    def rows(self, marks: Mapping[str, str]) -> Iterator[FrameRow]:
        """The rows of these media and fingerprints, in their order."""
        files: dict[str, pq.ParquetFile] = {}
        for media, mark in marks.items():
            name, place = self._where[media, mark]
            if name not in files:
                files[name] = pq.ParquetFile(self._folder / name, memory_map=True)
            row = files[name].read_row_group(place, use_threads=False)
            yield FrameRow(media, self._held[name][media], row)


def shard_rows(shard: Path) -> dict[str, dict[str, Any]]:
    """media -> facts of the rows of a finished shard, in their order; empty if it is absent or unreadable."""
    with suppress(OSError, ValueError):  # of Arrow and of orjson
        return orjson.loads((pq.read_metadata(shard).metadata or {}).get(_FACTS, b"{}"))
    return {}


def content_digest(row: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a row of the store, its JPEGs included."""
    jpegs = [frame["bytes"] for frame in row["frames"]]
    digest = hashlib.sha256(orjson.dumps({**row, "frames": [len(jpeg) for jpeg in jpegs]}))
    for jpeg in jpegs:
        digest.update(jpeg)
    return digest.hexdigest()


def _intact_rows(shard: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """`(place, media, facts)` of the rows that are still what was written."""
    damage = (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        MemoryError,
    )  # of Arrow
    with suppress(*damage), pq.ParquetFile(shard, memory_map=True) as file:
        for place, (media, facts) in enumerate(shard_rows(shard).items()):
            with suppress(*damage):
                row = file.read_row_group(place, use_threads=False).to_pylist()[0]
                if content_digest(row) == facts["content"]:
                    yield place, media, facts


def write_shard(shard: Path, rows: Iterable[FrameRow]) -> None:
    """Write one row group for each row, so that reading one media touches nothing else. Rows are streamed."""
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}  # JPEG is compressed
    with atomic_file(shard) as part, pq.ParquetWriter(part, SCHEMA, **plain) as writer:
        facts = {}
        for row in rows:
            writer.write_table(row.table)
            facts[row.media] = row.facts
        writer.add_key_value_metadata({_FACTS: orjson.dumps(facts)})
