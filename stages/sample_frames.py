"""Stage `sample_frames`: media files and their annotated moments -> frame stores, counts, and a page."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from openo3.benchmarks.base import FrameSampling, frames_of
from openo3.benchmarks.registry import BENCHMARKS
from openo3.configuration import within
from openo3.core.geometry import Span
from openo3.core.schema import Sample
from openo3.executors import LOCAL, ExecutorError
from openo3.fetch.manifest import MANIFEST, read_manifest
from openo3.files.artifacts import atomic_directory, read_json, read_jsonl, write_json, write_jsonl
from openo3.media.decode import SamplingConfig
from openo3.media.frame_writer import KeyRequest, Request, Written, write_store
from openo3.validation import frames_page
from openo3.validation.frames_page import LostMedia
from stages.params import load_params

RAW, VALIDATED, FRAMES = Path("data/raw"), Path("data/validated"), Path("data/frames")
METRICS, REPORT, CACHE = Path("metrics/frames.json"), Path("reports/frames"), Path(".cache/openo3")

Segments = dict[str, tuple[str, Span]]
"""Name of a segment -> its media file, and its start and end in seconds."""

Pictures = dict[str, Path]
"""Name of a picture that a question refers to -> its file."""

Moments = dict[str, dict[float, str | None]]
"""Media -> its annotated times, each with the JPEG that the source ships, if any."""


@dataclass(frozen=True)
class Common:
    """`train` says how the frames of training media are spread. `max_pixels` and `side_multiple` are the
    model's pixel budget. `time_limit_s` is for decoding one file of up to 10,000 frames and grows with longer
    ones. The stage fails if more than `max_rejected_share` of a store's media gives no frames.

    `executor` is `local`, with `workers` processes (0 for one per core), or `dask://host:port`, a cluster
    whose workers see this folder under the same path. The result is the same.
    """

    train: FrameSampling
    max_pixels: int
    side_multiple: int
    shards: int
    jpeg_quality: int = 95
    executor: str = LOCAL
    workers: int = 0
    time_limit_s: float = 120.0
    max_rejected_share: float = 0.05

    def __post_init__(self) -> None:
        within("side_multiple", self.side_multiple, at_least=1)
        within("max_pixels", self.max_pixels, at_least=self.side_multiple**2)
        for name, even in vars(self).items():
            if isinstance(even, FrameSampling):
                within(f"{name}.fps", even.fps, above=0)
                within(f"{name}.min_frames", even.min_frames, at_least=1)
                within(f"{name}.max_frames", even.max_frames, at_least=even.min_frames)
                within(f"{name}.max_pixels", even.max_pixels, at_least=self.side_multiple**2)
        within("shards", self.shards, at_least=1)
        within("jpeg_quality", self.jpeg_quality, at_least=1, at_most=100)
        within("workers", self.workers, at_least=0)
        within("time_limit_s", self.time_limit_s, above=0)
        within("max_rejected_share", self.max_rejected_share, at_least=0, at_most=1)


Params = make_dataclass(
    "Params",
    [(name, FrameSampling, benchmark.sampling) for name, benchmark in BENCHMARKS.items()],
    bases=(Common,),
    frozen=True,
)
"""The block of the stage: what is common, and each benchmark's sampling under its name."""


def main() -> None:
    try:
        run(load_params("sample_frames", Params))
    except ExecutorError as error:
        sys.exit(f"sample_frames: {error}")


def run(params: Common, root: Path = Path(".")) -> None:
    """Fill every store below `root`, the repository's folder."""
    spool = root / CACHE
    spool.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=spool) as folder:
        pictures = {name: bench_pictures(root, name, Path(folder)) for name in BENCHMARKS}
        _fill_stores(params, root, pictures)


def _fill_stores(params: Common, root: Path, pictures: dict[str, Pictures]) -> None:
    digests = {path: line["sha256"] for path, line in read_manifest(root / RAW).items()}
    stores = {"train": train_moments(root / VALIDATED)}
    stores |= {name: bench_moments(root / VALIDATED, name) for name in BENCHMARKS}
    segments = {name: bench_segments(root / VALIDATED, name) for name in BENCHMARKS}
    counts, lost, failed = {}, [], {}
    for name, moments in stores.items():
        started = time.monotonic()
        own = pictures.get(name, {})
        result = fill(root, name, moments, digests, params, segments.get(name, {}), own)
        if moments:
            counts[name] = count(result, time.monotonic() - started)
            if problem := too_many(name, result, len(moments) + len(own), params.max_rejected_share):
                failed[name] = problem
        lost += lost_media(root / VALIDATED, name, result, segments.get(name, {}))
    fields = ("store", "media", "reason", "detail", "records")
    write_jsonl(root / FRAMES / "rejected.jsonl", ({f: getattr(each, f) for f in fields} for each in lost))
    write_json(root / METRICS, counts)
    with atomic_directory(root / REPORT) as folder:
        html = frames_page.html(counts, lost, failed, params.max_rejected_share, root / RAW / "media")
        (folder / "index.html").write_text(html, encoding="utf-8")
    page = REPORT / "index.html"
    if failed:
        raise SystemExit(
            f"sample_frames: {'; '.join(failed.values())}. See {page} for all of them; "
            "if they are really unusable, raise sample_frames.max_rejected_share"
        )
    if lost:
        records = sum(each.records for each in lost)
        print(f"{len(lost):,} media files gave no frames, which costs {records:,} records, see {page}")


def too_many(name: str, result: Written, media: int, max_share: float) -> str | None:
    """An error line if more than `max_share` of a store's media gave no frames, or if none did."""
    count = len(result.rejected)
    if count <= max_share * media and count < media:
        return None
    path, reason, detail = result.rejected[0]
    return f"{count} of {media} media files of {name} gave no frames, the first: {path}: {reason}: {detail}"


def lost_media(validated: Path, name: str, result: Written, segments: Segments) -> list[LostMedia]:
    """What gave no frames, with the number of the store's records that need it."""
    if not result.rejected:
        return []
    records = Counter(needed(validated, name))
    return [
        LostMedia(name, media, segments.get(media, (media,))[0], reason, detail, records[media])
        for media, reason, detail in result.rejected
    ]


def needed(validated: Path, name: str) -> Iterator[str]:
    """The media, segments and pictures that the records of a store need, once for each record."""
    for path in (validated / "sft.jsonl", validated / "rl.jsonl") if name == "train" else ():
        yield from (row["media"] for row in (read_jsonl(path) if path.exists() else ()))
    for record in () if name == "train" else bench_records(validated, name):
        yield from filter(None, (frames_of(record), record.get("picture")))


def train_moments(validated: Path) -> Moments:
    """All media of both training files, each with the annotated times of all its records."""
    moments: Moments = {}
    for path in filter(Path.exists, (validated / "sft.jsonl", validated / "rl.jsonl")):
        for row in read_jsonl(path):
            sample = Sample.from_json(row)
            times = moments.setdefault(sample.media, {})
            for key in () if sample.is_image else sample.key_frames:
                time_s = round(key.time_s, 3)
                times[time_s] = max(times.get(time_s), key.path, key=lambda path: path or "")
    if not moments:
        print("sample_frames: no training record, the store train is empty")
    return moments


def bench_moments(validated: Path, name: str) -> Moments:
    """All media of a benchmark, which need only evenly spaced frames. Each segment is a separate item."""
    return {frames_of(record): {} for record in bench_records(validated, name)}


def bench_segments(validated: Path, name: str) -> Segments:
    """The segments among them."""
    records = bench_records(validated, name)
    return {r["frames"]: (r["media"], tuple(r["segment"])) for r in records if "segment" in r}


def bench_pictures(root: Path, name: str, spool: Path) -> Pictures:
    """The pictures that its records' questions refer to, as files of a new folder in `spool`."""
    wanted = {r["picture"] for r in bench_records(root / VALIDATED, name) if r.get("picture")}
    found: Pictures = {}
    benchmark = BENCHMARKS[name]
    if wanted and benchmark.pictures:
        (spool / name).mkdir()
        for picture, content in benchmark.pictures(root / RAW / "annotations" / benchmark.filename):
            if picture in wanted:
                found[picture] = spool.resolve() / name / str(len(found))
                found[picture].write_bytes(content)
    return found


def bench_records(validated: Path, name: str) -> list[dict[str, Any]]:
    path = validated / "bench" / f"{name}.json"
    return read_json(path) if path.exists() else []


def fill(
    root: Path,
    name: str,
    moments: Moments,
    digests: dict[str, str],
    params: Common,
    segments: Segments,
    pictures: Pictures,
) -> Written:
    """Write one store and show a progress bar over its media files; `pictures` are rows of their own."""

    def digest(path: str) -> str:
        if f"media/{path}" not in digests:
            raise SystemExit(f"{path}: not in {RAW / MANIFEST}, run the stage download")
        return digests[f"media/{path}"]

    even: FrameSampling = getattr(params, name)
    requests = []
    for media, times in moments.items():
        file, segment = segments.get(media, (media, None))
        keys = [KeyRequest(time_s, jpeg, jpeg and digest(jpeg)) for time_s, jpeg in sorted(times.items())]
        requests.append(Request(media, digest(file), tuple(keys), file, segment if even.segments else None))
    for picture, path in pictures.items():
        requests.append(Request(picture, hashlib.sha256(path.read_bytes()).hexdigest(), file=str(path)))
    policy = SamplingConfig(
        even.fps,
        even.min_frames,
        even.max_frames,
        max_pixels=params.max_pixels if even.max_pixels is None else even.max_pixels,
        multiple=params.side_multiple,
        jpeg_quality=params.jpeg_quality,
    )
    with tqdm(total=len(requests), desc=f"frames of {name}", unit="media", disable=None) as bar:
        return write_store(
            root / FRAMES / name,
            root / RAW / "media",
            requests,
            policy,
            shards=params.shards,
            executor=params.executor,
            workers=params.workers,
            time_limit_s=params.time_limit_s,
            progress=bar.update,
        )


def count(result: Written, seconds: float) -> dict[str, Any]:
    return {
        "media": result.media,
        "frames": result.frames,
        "key_frames": result.key_frames,
        "bytes": result.bytes,
        "sampled": result.sampled,
        "kept": result.kept,
        "shards_written": result.shards_written,
        "rejected": len(result.rejected),
        "rejected_by_reason": dict(sorted(Counter(reason for _, reason, _ in result.rejected).items())),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
