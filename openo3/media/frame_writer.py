"""Fill a frame store: sample what is new or changed, keep the rest, rewrite as few shards as possible.

Every row carries a fingerprint of all that it was made from: the media's digest, its annotated moments, the
sampling policy and the code of the decoders. A shard is rewritten only if the fingerprints that it should
hold differ from those that it has, and then only the rows in question are decoded again. Which rows a shard
should hold (`openo3.media.frame_layout`) is written down first, in `layout.json`. Since finished shards tell
by themselves what they hold, a killed run goes on with the shard it was at; and since rows are in the order
of their names and Parquet is written plainly, it ends with the same bytes as one never killed.

Rows are written as they come, so memory does not grow with the store but for their names.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from openo3.executors import LOCAL, ExecutorError, opened
from openo3.files.artifacts import read_json, write_json
from openo3.media import decode, ffmpeg, image, probe
from openo3.media.decode import Key, SamplingConfig
from openo3.media.frame_layout import layout
from openo3.media.frame_shards import FrameRow, ShardIndex, shard_rows, write_shard
from openo3.media.frame_store import INDEX, SCHEMA
from openo3.media.image import to_jpeg
from openo3.media.isolated import each
from openo3.media.probe import MediaError

LAYOUT = "layout.json"


@dataclass(frozen=True)
class KeyRequest:
    """An annotated moment; `image` is its JPEG below the media root, if the source ships one."""

    time_s: float
    image: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Request:
    """One row of the store: its name, the digest of its file, and the annotated moments of all its records.

    `file` is the media file below the media root, if the row is not named like it. With a `segment` (start
    and end in seconds), the frames are those of the segment, whose times begin at 0.
    """

    media: str
    digest: str
    keys: tuple[KeyRequest, ...] = ()
    file: str | None = None
    segment: tuple[float, float] | None = None

    @property
    def path(self) -> str:
        return self.file or self.media


@dataclass
class Written:
    """What a run did: `rejected` holds `(media, reason, detail)`."""

    media: int = 0
    frames: int = 0
    key_frames: int = 0
    bytes: int = 0
    sampled: int = 0
    kept: int = 0
    shards_written: int = 0
    rejected: list[tuple[str, str, str]] = field(default_factory=list)


def write_store(
    folder: Path,
    root: Path,
    requests: Iterable[Request],
    policy: SamplingConfig,
    *,
    shards: int,
    workers: int = 0,
    executor: str = LOCAL,
    time_limit_s: float,
    progress: Callable[[int], object] = lambda count: None,
) -> Written:
    """Make `folder` hold exactly the frames of `requests`, whose media lie below `root`.

    `executor` decodes them (`openo3.executors`), with `workers` processes here if it is the local one. There
    are at most twice `shards` shards. `progress` is called with the number of media files just finished. A
    media file that gives no frames is listed in the result and tried again in the next run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = _plan(folder, requests, policy, shards)
    shelf = ShardIndex(folder)
    stale = [name for name, members in plan.items() if _marks(members) != shelf.marks(name)]
    foreign = [file for file in folder.iterdir() if file.name not in {*plan, INDEX, LAYOUT}]
    if stale or foreign:
        (folder / INDEX).unlink(missing_ok=True)
    jobs = [r for name in stale for r, mark in plan[name].items() if not shelf.has(r.media, mark)]
    result = Written()
    progress(sum(map(len, plan.values())) - len(jobs))
    sampler = partial(sample_row, root=root.resolve(), policy=policy, time_limit_s=time_limit_s)
    with (
        opened(executor if jobs else LOCAL, workers) as (pool, slots),
        closing(each(sampler, jobs, pool, slots, time_limit_s)) as results,
    ):
        for name in stale:
            wanted = {r: mark for r, mark in plan[name].items() if not shelf.has(r.media, mark)}
            new = _sampled(wanted, results, root, result, progress)
            _fill_shard(folder / name, plan[name], shelf, new, result)
    for file in foreign:
        file.unlink()
    _write_index(folder, policy, plan, result)
    result.kept = result.media - result.sampled
    return result


def sample_row(request: Request, root: Path, policy: SamplingConfig, time_limit_s: float) -> dict[str, Any]:
    """One row of the store. Runs in a worker. Raises `MediaError`."""
    keys = [Key(key.time_s, root / key.image if key.image else None) for key in request.keys]
    if request.segment:
        clip = _sample_segment(root / request.path, request.segment, policy, time_limit_s)
    else:
        clip = decode.sample(root / request.path, keys, policy, time_limit_s)
    return {
        "media": request.media,
        "digest": request.digest,
        "fingerprint": fingerprint(request, policy),
        "width": clip.size[0],
        "height": clip.size[1],
        "duration_s": clip.duration_s,
        "times_s": [shot.time_s for shot in clip.shots],
        "asked_s": [shot.asked_s for shot in clip.shots],
        "key": [shot.key for shot in clip.shots],
        "frames": [{"bytes": to_jpeg(shot.image, policy.jpeg_quality), "path": None} for shot in clip.shots],
    }


def _sample_segment(
    path: Path, segment: tuple[float, float], policy: SamplingConfig, time_limit_s: float
) -> decode.DecodedVideo:
    """Evenly spread frames of a segment, which are taken like annotated moments; each frame once."""
    start, end = segment
    asked = decode.sample_times(end - start, policy.fps, policy.min_frames, policy.max_frames)
    few = replace(policy, min_frames=1, max_frames=1)  # the whole file's own, which are dropped
    whole = decode.sample(path, [Key(start + time_s) for time_s in asked], few, time_limit_s)
    chosen: dict[float, decode.SampledFrame] = {}
    for shot in whole.shots:
        if shot.key:
            chosen.setdefault(shot.time_s, shot)
    if not chosen:
        raise MediaError("no frames", "a segment of what is not a video")
    shots = tuple(
        replace(shot, asked_s=shot.asked_s - start, time_s=max(round(shot.time_s - start, 6), 0.0), key=False)
        for shot in chosen.values()
    )
    length_s = max(min(end, whole.duration_s or end) - start, shots[-1].time_s)
    return decode.DecodedVideo(whole.size, length_s, shots)


@cache
def _code() -> str:
    """Changes with the modules that turn a file into frames."""
    sources = [Path(module.__file__).read_bytes() for module in (decode, ffmpeg, image, probe)]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def fingerprint(request: Request, policy: SamplingConfig) -> str:
    """Hexadecimal digest of all that a row depends on."""
    parts = [_code(), asdict(policy), request.digest, [asdict(key) for key in request.keys]]
    parts += [request.segment] if request.segment else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _plan(
    folder: Path, requests: Iterable[Request], policy: SamplingConfig, shards: int
) -> dict[str, dict[Request, str]]:
    """Shard -> its requests by name of media, each with its fingerprint. Written down before it is begun."""
    by_media = {request.media: request for request in requests}
    before = {}
    with suppress(FileNotFoundError, orjson.JSONDecodeError):  # a lost layout only costs copying
        before = read_json(folder / LAYOUT)
    planned = layout(before, by_media.keys(), shards)
    if planned != before or not (folder / LAYOUT).exists():
        write_json(folder / LAYOUT, planned)
    return {
        name: {by_media[media]: fingerprint(by_media[media], policy) for media in members}
        for name, members in planned.items()
    }


def _marks(members: Mapping[Request, str]) -> dict[str, str]:
    return {request.media: mark for request, mark in members.items()}


def _sampled(
    wanted: Mapping[Request, str],
    results: Iterator[tuple[Request, dict[str, Any] | MediaError]],
    root: Path,
    result: Written,
    progress: Callable[[int], object],
) -> Iterator[FrameRow]:
    """The next results, which are those of `wanted`: the rows; failures go into `result`."""
    for mark, (request, row) in zip(wanted.values(), results, strict=False):
        if isinstance(row, MediaError):
            files = [request.path, *(key.image for key in request.keys if key.image)]
            if row.reason == "missing" and all((root / file).exists() for file in files):
                raise ExecutorError(f"{root.resolve() / request.path}: there, but a worker does not see it")
            result.rejected.append((request.media, row.reason, row.detail))
        else:
            if row["fingerprint"] != mark:
                raise ExecutorError(f"{request.media}: decoded by a worker that runs other code than this")
            result.sampled += 1
            yield FrameRow(request.media, _facts(row), pa.Table.from_pylist([row], SCHEMA))
        progress(1)


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "digest": row["digest"],
        "fingerprint": row["fingerprint"],
        "size": [row["width"], row["height"]],
        "duration_s": row["duration_s"],
        "frames": len(row["key"]),
        "key_frames": sum(row["key"]),
    }


def _fill_shard(
    file: Path, members: Mapping[Request, str], shelf: ShardIndex, new: Iterator[FrameRow], result: Written
) -> None:
    """Make `file` hold the rows of `members` that are kept, which are copied, and those of `new`."""
    kept = {request.media: mark for request, mark in members.items() if shelf.has(request.media, mark)}
    first = next(new, None)
    if first is None and kept == shelf.marks(file.name):
        return  # all that was new was rejected
    result.shards_written += 1
    if first is None and not kept:
        file.unlink()
        return
    new = chain([first] if first else [], new)
    write_shard(file, heapq.merge(shelf.rows(kept), new, key=lambda row: row.media))


def _write_index(folder: Path, policy: SamplingConfig, names: Iterable[str], result: Written) -> None:
    """Say where every row is, from the shards themselves; left alone if nothing changed."""
    media = {}
    for name in names:
        if not (folder / name).exists():
            continue
        result.bytes += (folder / name).stat().st_size
        for place, (path, facts) in enumerate(shard_rows(folder / name).items()):
            about = {key: value for key, value in facts.items() if key != "fingerprint"}
            media[path] = {"shard": name, "row": place, **about}
            result.frames += facts["frames"]
            result.key_frames += facts["key_frames"]
    result.media = len(media)
    index = {"policy": asdict(policy), "media": dict(sorted(media.items()))}
    file = folder / INDEX
    if not file.exists() or read_json(file) != index:
        write_json(file, index)
