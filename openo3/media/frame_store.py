"""The frames of every video and image that a stage needs, ready for the model.

    store = FrameStore.open("data/frames/train")
    store.frames("videos/shapes/videos/000012.mp4", key_times_s=[2.5])
    -> [Frame(image, time_s=0.0, key=False), ..., Frame(image, time_s=2.5, key=True), ...]

One row per media file in Parquet shards, which `datasets.load_dataset("parquet", ...)` shows with pictures:

    media, digest, fingerprint     path below data/raw/media, its SHA-256, and a digest of the row's inputs
    width, height, duration_s      model pixels; length of the video in seconds, null for an image
    times_s, asked_s, key, frames  per frame: its presentation time, the time it was taken for, whether it
                                   is an annotated moment (else an evenly spread frame), and its JPEG

`index.json` says where each row is. It is written last, so a store that has one is complete.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from openo3.files.artifacts import read_json

INDEX = "index.json"

_JPEG = pa.struct({"bytes": pa.binary(), "path": pa.string()})  # what `datasets` calls Image
_COLUMNS = {
    "media": pa.string(),
    "digest": pa.string(),
    "fingerprint": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "duration_s": pa.float64(),
    "times_s": pa.list_(pa.float64()),
    "asked_s": pa.list_(pa.float64()),
    "key": pa.list_(pa.bool_()),
    "frames": pa.list_(_JPEG),
}
_SAME_TIME_S = 5e-4


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """An Arrow type as `datasets.Features` describes it."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if kind == _JPEG:
        return {"_type": "Image"}
    return {"dtype": "float64" if kind == pa.float64() else str(kind), "_type": "Value"}


_FEATURES = {"info": {"features": {name: _feature(kind) for name, kind in _COLUMNS.items()}}}
SCHEMA = pa.schema(_COLUMNS.items(), metadata={"huggingface": json.dumps(_FEATURES)})


@dataclass(frozen=True)
class Frame:
    """`image` is RGB in model size; `key` marks an annotated key frame; `time_s` is 0 for a still image.

    `of_question` marks a picture that the question refers to, which is no frame of the media.
    """

    image: Image.Image
    time_s: float
    key: bool
    of_question: bool = False


class FrameStore:
    """Frames by media path, read row by row; can be pickled."""

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self._folder, self._index = folder, index
        self._media: dict[str, dict[str, Any]] = index["media"]
        self._shards: dict[str, pq.ParquetFile] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FrameStore:
        """Raises `FileNotFoundError` if the store is incomplete."""
        folder = Path(path)
        if not (folder / INDEX).is_file():
            raise FileNotFoundError(f"{folder / INDEX}: no complete frame store, run the stage sample_frames")
        return cls(folder, read_json(folder / INDEX))

    def __contains__(self, media: str) -> bool:
        return media in self._media

    def __len__(self) -> int:
        return len(self._media)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}  # open files cannot be pickled

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """media -> `(W, H)` in model pixels."""
        return {media: tuple(entry["size"]) for media, entry in self._media.items()}

    @property
    def policy(self) -> Mapping[str, Any]:
        """How the evenly spread frames were sampled: the fields of `openo3.media.decode.SamplingConfig`."""
        return self._index["policy"]

    def count(self, media: str) -> int:
        """How many evenly spread frames there are."""
        entry = self._entry(media)
        return entry["frames"] - entry["key_frames"]

    def duration_s(self, media: str) -> float | None:
        """Length of the video in seconds, None for an image."""
        return self._entry(media)["duration_s"]

    def frames(self, media: str, key_times_s: Sequence[float] = ()) -> list[Frame]:
        """The evenly spread frames and those of `key_times_s`, in order of time, no moment twice.

        An image has one frame, whatever times are asked for. Raises `KeyError` for a media file that is not
        in the store, and for a time that no validated record names.
        """
        row = self._row(media, "frames")
        return [
            Frame(_decode(row["frames"][place]["bytes"]), time_s, row["key"][place])
            for time_s, place in self._chosen(media, row, key_times_s)
        ]

    def times_s(self, media: str, key_times_s: Sequence[float] = ()) -> list[float]:
        """The times of the frames that `frames` returns, without reading a frame."""
        return [time_s for time_s, _ in self._chosen(media, self._row(media), key_times_s)]

    def _row(self, media: str, *columns: str) -> dict[str, Any]:
        entry = self._entry(media)
        wanted = ["times_s", "asked_s", "key", *columns]
        return (
            self._shard(entry["shard"]).read_row_group(entry["row"], wanted, use_threads=False).to_pylist()[0]
        )

    def _chosen(
        self, media: str, row: Mapping[str, Any], key_times_s: Sequence[float]
    ) -> list[tuple[float, int]]:
        """Times and places in the row of the evenly spread frames and the requested annotated ones."""
        chosen = {time_s: place for place, time_s in enumerate(row["times_s"]) if not row["key"][place]}
        if self.duration_s(media) is not None:
            for key_time_s in key_times_s:
                place = self._place(media, row, key_time_s)
                chosen[row["times_s"][place]] = place
        return sorted(chosen.items())

    def _place(self, media: str, row: Mapping[str, Any], key_time_s: float) -> int:
        for place, (asked_s, key) in enumerate(zip(row["asked_s"], row["key"], strict=True)):
            if key and abs(asked_s - key_time_s) < _SAME_TIME_S:
                return place
        raise KeyError(f"{media}: no key frame at {key_time_s} s in {self._folder}, rerun sample_frames")

    def _entry(self, media: str) -> dict[str, Any]:
        if media not in self._media:
            raise KeyError(f"{media}: not in {self._folder}, see data/frames/rejected.jsonl")
        return self._media[media]

    def _shard(self, name: str) -> pq.ParquetFile:
        if name not in self._shards:
            self._shards[name] = pq.ParquetFile(self._folder / name, memory_map=True)
        return self._shards[name]


def _decode(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    image.load()
    return image
