"""Fill a frame store: sample what is new or changed, keep the rest, rewrite as few shards as possible.

Every row carries a fingerprint of its inputs: the media's digest, its annotated moments, the sampling policy
and the code and versions of the decoders. A shard is rewritten only if its rows are damaged or their
fingerprints differ from the expected ones, and then only the rows in question are decoded again.
`layout.json` says which rows a shard should hold (`openo3.media.frame_layout`) and is written first. A killed
run resumes with the shard that it was writing. It ends with the same bytes as an undisturbed run, since rows
are in the order of their names and Parquet is written without compression or statistics.

Rows are written as they are decoded, so memory grows only with the names in the store.
"""

from __future__ import annotations

import hashlib
import heapq
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from openo3.executors import LOCAL, ExecutorError, opened
from openo3.files.artifacts import read_json, write_json
from openo3.media import container, decode, image, probe, reader
from openo3.media.container import MediaError
from openo3.media.decode import Key, SamplingConfig
from openo3.media.frame_layout import layout
from openo3.media.frame_shards import FrameRow, ShardIndex, content_digest, shard_rows, write_shard
from openo3.media.frame_store import INDEX, SCHEMA
from openo3.media.image import to_jpeg
from openo3.media.isolated import each, extend_time_limit

LAYOUT = "layout.json"
_TEST_CLIP = ".test-clip.gif"
_BROKEN = "the decoder fails on a clip made for testing it; check the installation and the free disk space"


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
    """What a run did; `rejected` holds `(media, reason, detail)`."""

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

    `executor` decodes them (`openo3.executors`), with `workers` local processes if it is the local one. There
    are at most twice `shards` shards. `progress` is called with the number of media files just finished. A
    media file that gives no frames is listed in the result and tried again in the next run.

    Raises `ExecutorError` before any media is rejected if the decoder fails on a clip made for testing it.
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
        _test_clip(folder) if jobs else nullcontext([]) as tests,
        opened(executor if jobs else LOCAL, workers) as (pool, slots),
        closing(each(sampler, [*tests, *jobs], pool, slots, time_limit_s)) as results,
    ):
        for _, tested in islice(results, len(tests)):
            if isinstance(tested, MediaError):
                raise ExecutorError(f"executor {executor}: {_BROKEN} ({tested})")
        for name in stale:
            wanted = {r: mark for r, mark in plan[name].items() if not shelf.has(r.media, mark)}
            new = _sampled(wanted, results, root, result, progress)
            _fill_shard(folder / name, plan[name], shelf, new, result)
    for file in foreign:
        file.unlink(missing_ok=True)  # the test clip of a killed run is gone by now
    _write_index(folder, policy, plan, result)
    result.kept = result.media - result.sampled
    return result


@contextmanager
def _test_clip(folder: Path) -> Iterator[list[Request]]:
    """A request for a clip that PyAV always reads. The next run removes a leftover one."""
    file = folder.resolve() / _TEST_CLIP
    try:
        first, *others = (Image.new("RGB", (64, 48), (60 * turn, 128, 128)) for turn in range(4))
        first.save(file, save_all=True, append_images=others, duration=250)
    except OSError as error:
        raise ExecutorError(f"{_BROKEN} ({' '.join(str(error).split())})") from None
    try:
        yield [Request(str(file), "")]
    finally:
        file.unlink(missing_ok=True)


def sample_row(request: Request, root: Path, policy: SamplingConfig, time_limit_s: float) -> dict[str, Any]:
    """One row of the store. Runs in a worker. Raises `MediaError`."""
    keys = [Key(key.time_s, root / key.image if key.image else None) for key in request.keys]
    if request.segment:
        clip = _sample_segment(root / request.path, request.segment, policy, time_limit_s)
    else:
        clip = decode.sample(root / request.path, keys, policy, time_limit_s, on_limit=extend_time_limit)
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
    moments = [Key(start + time_s) for time_s in asked]
    whole = decode.sample(path, moments, few, time_limit_s, on_limit=extend_time_limit)
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
    """Changes with the code that turns a file into frames, and with the libraries that decode."""
    modules = (container, decode, image, probe, reader)
    sources = [Path(inspect.getfile(module)).read_text(encoding="utf-8") for module in modules]
    sources += [inspect.getsource(function) for function in (sample_row, _sample_segment)]
    return hashlib.sha256("\0".join([*sources, *reader.versions()]).encode()).hexdigest()


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
    before = _known(folder / LAYOUT)  # a lost layout only costs copying
    planned = layout(before, by_media.keys(), shards)
    if planned != before or not (folder / LAYOUT).exists():
        write_json(folder / LAYOUT, planned)
    return {
        name: {by_media[media]: fingerprint(by_media[media], policy) for media in members}
        for name, members in planned.items()
    }


def _known(file: Path) -> dict[str, Any]:
    """A JSON object that an earlier run wrote; empty if it is absent or damaged."""
    with suppress(FileNotFoundError, ValueError):
        if isinstance(found := read_json(file), dict):
            return found
    return {}


def _marks(members: Mapping[Request, str]) -> dict[str, str]:
    return {request.media: mark for request, mark in members.items()}


def _sampled(
    wanted: Mapping[Request, str],
    results: Iterator[tuple[Request, dict[str, Any] | MediaError]],
    root: Path,
    result: Written,
    progress: Callable[[int], object],
) -> Iterator[FrameRow]:
    """The rows of the next results, which are those of `wanted`; failures go into `result`."""
    for mark, (request, row) in zip(wanted.values(), results, strict=False):
        if isinstance(row, MediaError):
            files = [request.path, *(key.image for key in request.keys if key.image)]
            if row.reason == "missing" and all((root / file).exists() for file in files):
                raise ExecutorError(f"{root.resolve() / request.path}: exists, but a worker does not see it")
            result.rejected.append((request.media, row.reason, row.detail))
        else:
            if row["fingerprint"] != mark:
                raise ExecutorError(f"{request.media}: decoded by a worker that runs other code")
            result.sampled += 1
            table = pa.Table.from_pylist([row], SCHEMA)
            yield FrameRow(request.media, _facts(table.to_pylist()[0]), table)
        progress(1)


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "digest": row["digest"],
        "fingerprint": row["fingerprint"],
        "size": [row["width"], row["height"]],
        "duration_s": row["duration_s"],
        "frames": len(row["key"]),
        "key_frames": sum(row["key"]),
        "content": content_digest(row),
    }


def _fill_shard(
    file: Path, members: Mapping[Request, str], shelf: ShardIndex, new: Iterator[FrameRow], result: Written
) -> None:
    """Make `file` hold the kept rows of `members`, which are copied, and the rows of `new`."""
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
    """Write where every row is, as the shards say; the file is left alone if nothing changed."""
    media = {}
    for name in names:
        if not (folder / name).exists():
            continue
        result.bytes += (folder / name).stat().st_size
        for place, (path, facts) in enumerate(shard_rows(folder / name).items()):
            about = {key: value for key, value in facts.items() if key not in ("fingerprint", "content")}
            media[path] = {"shard": name, "row": place, **about}
            result.frames += facts["frames"]
            result.key_frames += facts["key_frames"]
    result.media = len(media)
    index = {"policy": asdict(policy), "media": dict(sorted(media.items()))}
    file = folder / INDEX
    if _known(file) != index:
        write_json(file, index)
