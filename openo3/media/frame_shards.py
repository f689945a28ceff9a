"""The Parquet shards of a frame store, each of which tells by itself what it holds.

    write_shard(Path("frames-91ab.parquet"), rows)
    shard_rows(Path("frames-91ab.parquet"))
    -> {"videos/shapes/videos/000012.mp4": {"digest": "...", "fingerprint": "...", "size": [128, 96],
                                            "duration_s": 9.6, "frames": 18, "key_frames": 2}, ...}

That list is in the footer, beside what Parquet keeps there itself: known in milliseconds, without the rows.
"""

from __future__ import annotations

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
    """The rows in a store's shards, finished or not, by media and fingerprint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = {file.name: shard_rows(file) for file in sorted(folder.glob("*.parquet"))}
        self._where = {
            (media, facts["fingerprint"]): (name, place)
            for name, rows in self._held.items()
            for place, (media, facts) in enumerate(rows.items())
        }

    def marks(self, shard: str) -> dict[str, str]:
        """media -> fingerprint of a shard's rows; empty without one."""
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
    """media -> facts of the rows of a finished shard, in their order; empty if there is none."""
    with suppress(OSError, pa.ArrowInvalid):
        return orjson.loads((pq.read_metadata(shard).metadata or {}).get(_FACTS, b"{}"))
    return {}


def write_shard(shard: Path, rows: Iterable[FrameRow]) -> None:
    """One row group for each row, so that reading one media touches nothing else. Rows go as they come."""
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}  # JPEG is compressed
    with atomic_file(shard) as part, pq.ParquetWriter(part, SCHEMA, **plain) as writer:
        facts = {}
        for row in rows:
            writer.write_table(row.table)
            facts[row.media] = row.facts
        writer.add_key_value_metadata({_FACTS: orjson.dumps(facts)})
