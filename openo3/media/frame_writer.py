"""Fill a frame store: sample what is new or changed, keep the rest, rewrite as few shards as possible.

Every row carries a fingerprint of all that it was made from: the media's digest, its annotated moments, the
sampling policy and the code of the decoders. A shard is rewritten only if the fingerprints that it should
hold differ from those that it has, and then only the rows in question are decoded again. Since finished
shards tell by themselves what they hold, a killed run goes on with the shard it was at; and since rows are in
the order of their names and Parquet is written plainly, it ends with the same bytes as one never killed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openo3.artifacts import atomic_file, read_json, write_json
from openo3.media import decode, ffmpeg, image, probe
from openo3.media.decode import Key, Policy
from openo3.media.frame_store import INDEX, SCHEMA
from openo3.media.image import to_jpeg
from openo3.media.isolated import each
from openo3.media.probe import MediaError


@dataclass(frozen=True)
class KeyRequest:
    """An annotated moment; `image` is its JPEG below the media root, if the source ships one."""

    time_s: float
    image: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Request:
    """One media file below the media root, its digest, and the annotated moments of all its records."""

    media: str
    digest: str
    keys: tuple[KeyRequest, ...] = ()


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
    policy: Policy,
    *,
    shards: int,
    workers: int,
    time_limit_s: float,
    progress: Callable[[int], object] = lambda count: None,
) -> Written:
    """Make `folder` hold exactly the frames of `requests`, whose media lie below `root`.

    `progress` is called with the number of media files just finished. A media file that gives no frames is
    listed in the result and tried again in the next run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = _plan(requests, policy, shards)
    held = {name: _fingerprints(folder / name) for name in plan}
    stale = [name for name, members in plan.items() if _marks(members) != held[name]]
    foreign = [file for file in folder.iterdir() if file.name not in plan and file.name != INDEX]
    if stale or foreign:
        (folder / INDEX).unlink(missing_ok=True)
    for file in foreign:
        file.unlink()
    result = Written()
    jobs = [r for name in stale for r, mark in plan[name].items() if held[name].get(r.media) != mark]
    progress(sum(map(len, plan.values())) - len(jobs))
    sampler = partial(sample_row, root=root, policy=policy, time_limit_s=time_limit_s)
    with closing(each(sampler, jobs, workers, time_limit_s)) as results:
        for name in stale:
            wanted = _marks(plan[name])
            fresh = _collect(results, wanted, held[name], result, progress)
            _write_shard(folder / name, wanted, held[name], fresh, result)
    _write_index(folder, policy, plan, result)
    result.kept = result.media - result.sampled
    return result


def sample_row(request: Request, root: Path, policy: Policy, time_limit_s: float) -> dict[str, Any]:
    """One row of the store. Runs in a worker. Raises `MediaError`."""
    keys = [Key(key.time_s, root / key.image if key.image else None) for key in request.keys]
    clip = decode.sample(root / request.media, keys, policy, time_limit_s)
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


@cache
def _code() -> str:
    """Changes with the modules that turn a file into frames."""
    sources = [Path(module.__file__).read_bytes() for module in (decode, ffmpeg, image, probe)]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def fingerprint(request: Request, policy: Policy) -> str:
    """Hexadecimal digest of all that a row depends on."""
    parts = [_code(), asdict(policy), request.digest, [asdict(key) for key in request.keys]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def shard_name(media: str, shards: int) -> str:
    place = int.from_bytes(hashlib.sha256(media.encode()).digest()[:8]) % shards
    return f"frames-{place:05d}-of-{shards:05d}.parquet"


def _plan(requests: Iterable[Request], policy: Policy, shards: int) -> dict[str, dict[Request, str]]:
    """Shard name -> its requests by name of media, each with its fingerprint."""
    plan: dict[str, dict[Request, str]] = {}
    for request in sorted(requests, key=lambda request: request.media):
        plan.setdefault(shard_name(request.media, shards), {})[request] = fingerprint(request, policy)
    return dict(sorted(plan.items()))


def _marks(members: Mapping[Request, str]) -> dict[str, str]:
    return {request.media: mark for request, mark in members.items()}


def _fingerprints(shard: Path) -> dict[str, str]:
    """media -> fingerprint of the rows that a finished shard holds, in their order; empty without one."""
    with suppress(OSError, pa.ArrowInvalid):
        table = pq.read_table(shard, columns=["media", "fingerprint"], use_threads=False)
        return dict(zip(table["media"].to_pylist(), table["fingerprint"].to_pylist(), strict=True))
    return {}


def _collect(
    results: Iterator[tuple[Request, dict[str, Any] | MediaError]],
    wanted: Mapping[str, str],
    held: Mapping[str, str],
    result: Written,
    progress: Callable[[int], object],
) -> dict[str, dict[str, Any]]:
    """The new rows of one shard by media; failures go into `result`."""
    fresh = {}
    for _ in [media for media, mark in wanted.items() if held.get(media) != mark]:
        request, row = next(results)
        if isinstance(row, MediaError):
            result.rejected.append((request.media, row.reason, row.detail))
        else:
            fresh[request.media] = row
            result.sampled += 1
        progress(1)
    return fresh


def _write_shard(
    file: Path,
    wanted: Mapping[str, str],
    held: Mapping[str, str],
    fresh: Mapping[str, dict[str, Any]],
    result: Written,
) -> None:
    """Kept rows are copied. One row group each, so that reading one media touches nothing else."""
    kept = {media for media, mark in wanted.items() if held.get(media) == mark}
    members = [media for media in wanted if media in kept or media in fresh]
    if not fresh and members == list(held):
        return  # all that was new was rejected
    result.shards_written += 1
    if not members:
        file.unlink()
        return
    places = {media: place for place, media in enumerate(held)}
    old = pq.ParquetFile(file) if kept else None
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}  # JPEG is compressed
    with atomic_file(file) as part, pq.ParquetWriter(part, SCHEMA, **plain) as writer:
        for media in members:
            if media in kept:
                writer.write_table(old.read_row_group(places[media], use_threads=False))
            else:
                writer.write_table(pa.Table.from_pylist([fresh[media]], SCHEMA))


def _write_index(folder: Path, policy: Policy, names: Iterable[str], result: Written) -> None:
    """Say where every row is, from the shards themselves; left alone if nothing changed."""
    media = {}
    for name in names:
        if not (folder / name).exists():
            continue
        result.bytes += (folder / name).stat().st_size
        columns = ["media", "digest", "width", "height", "duration_s", "key"]
        for place, row in enumerate(pq.read_table(folder / name, columns=columns).to_pylist()):
            size = [row["width"], row["height"]]
            counts = {"frames": len(row["key"]), "key_frames": sum(row["key"])}
            where = {"shard": name, "row": place, "digest": row["digest"]}
            media[row["media"]] = {**where, "size": size, "duration_s": row["duration_s"], **counts}
            result.frames += counts["frames"]
            result.key_frames += counts["key_frames"]
    result.media = len(media)
    index = {"policy": asdict(policy), "media": media}
    file = folder / INDEX
    if not file.exists() or read_json(file) != index:
        write_json(file, index)
