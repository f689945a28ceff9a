"""Writing the gallery's folder: whole or not at all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tqdm import tqdm

from openo3.core.failures import Failure
from openo3.files.artifacts import atomic_directory, read_json, write_json
from openo3.gallery import predictions
from openo3.gallery.clips import FOLDER, Clip, Clips, Known
from openo3.gallery.entries import MAX_LINE, answer_json, cut, failures_in, first_answer, record_json
from openo3.gallery.predictions import GalleryError, Run
from openo3.player.clip import megabytes
from openo3.player.page import assets, script_json

PAGE = "index.html"
MARKER = "gallery.json"
"""Says that a folder is a gallery, which may be replaced, and which clips it has."""

PAGE_BYTES = 256 << 10
"""A file of answers is not made longer than this, unless a single record is."""

LIST_RECORDS = 500
_FILES = (PAGE, "gallery.js", "gallery.css")
_OWN = re.compile(
    r"index\.html|(?:gallery|player)\.(?:js|css)|gallery\.json|data/index\.js|data/[^/]+/(?:list|page)-\d+\.js"
    r"|media/[0-9a-f]+\.\w+"
)
"""The files that a gallery has: a folder with others is not replaced."""


@dataclass(frozen=True)
class Summary:
    """What was written: predictions are records answered by a checkpoint in a condition; sizes in bytes.

    `clips` counts by how they came to be: `linked`, `copied`, `converted`, `missing`. `disk_bytes` is what
    the folder takes beside the hard links to data that is there anyway.
    """

    page: Path
    predictions: int
    records: int
    clips: Mapping[str, int]
    data_bytes: int
    media_bytes: int
    disk_bytes: int

    def __str__(self) -> str:
        clips = ", ".join(f"{count} {how}" for how, count in self.clips.items())
        return (
            f"{self.page}: {self.predictions:,} predictions of {self.records:,} records; "
            f"{megabytes(self.data_bytes)} of data, {megabytes(self.media_bytes)} of clips ({clips}), "
            f"{megabytes(self.disk_bytes)} more on disk"
        )


def write(root: Path, out: Path, models: Sequence[str] | None = None) -> Summary:
    """Write the gallery of the repository at `root` to the folder `out`, replacing an earlier one.

    Clips that have not changed are taken from the earlier one; everything else is written anew.

    Raises:
        GalleryError: there are no predictions, they cannot be read, or `out` is a folder of something else.
    """
    known = _known(out)
    found = predictions.find(root, models)
    counts: Counter[str] = Counter()
    clips: dict[str, Clip] = {}
    with atomic_directory(out) as folder:
        store = Clips(root / "data/raw/media", folder, out, known, root / ".dvc/cache")
        index = []
        for paths in found.values():
            runs = [predictions.read(path) for path in paths]
            for run in runs[1:]:
                predictions.check_same_records(runs[0], run)
            index.append(_write_benchmark(folder / "data", runs, store, clips))
            counts["records"] += index[-1]["records"]
            counts["predictions"] += sum(len(run.results) for run in runs)
        _write_script(folder / "data/index.js", "index", {"benchmarks": index, "failures": _failures()})
        _write_page(folder)
        there = {clip.key: {"media": clip.media, "how": clip.how} for clip in clips.values() if clip.key}
        write_json(folder / MARKER, {"gallery": 1, "clips": there})
    sizes = {path: path.stat().st_size for path in out.rglob("*") if path.is_file()}
    media = {path: size for path, size in sizes.items() if path.parent.name == FOLDER}
    linked = {Path(out, clip.media["url"]) for clip in clips.values() if clip.how == "linked"}
    return Summary(
        page=out / PAGE,
        predictions=counts["predictions"],
        records=counts["records"],
        clips=Counter(clip.how or "missing" for clip in clips.values()),
        data_bytes=sum(sizes.values()) - sum(media.values()),
        media_bytes=sum(media.values()),
        disk_bytes=sum(size for path, size in sizes.items() if path not in linked),
    )


def _known(out: Path) -> Mapping[str, Known]:
    """The clips of the gallery that is replaced, by their keys."""
    if not out.exists():
        return {}
    if not out.is_dir() or (any(out.iterdir()) and not (out / MARKER).is_file()):
        raise GalleryError(f"--out {out}: there is something that is no gallery; name another folder")
    files = (str(path.relative_to(out)) for path in sorted(out.rglob("*")) if not path.is_dir())
    if other := next((name for name in files if not _OWN.fullmatch(name)), None):
        raise GalleryError(f"--out {out}: holds {other}, which is not the gallery's; move it elsewhere")
    try:
        clips = read_json(out / MARKER)["clips"].items()
        return {
            key: Known(media=_checked(clip["media"]), how=str(clip["how"]))
            for key, clip in clips
            if clip["media"]["url"]
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # all clips are looked at anew
        return {}


def _checked(media: Mapping[str, Any]) -> dict[str, Any]:
    """A note of `described`, whose file may be damaged."""
    width, height = media["size"]
    end = media["duration_s"]
    if not (width >= 1 and height >= 1 and (end is None or end > 0) and media["kind"] in ("video", "image")):
        raise ValueError(f"not the facts of a clip: {media}")
    return {"url": str(media["url"]), "kind": media["kind"], "size": [width, height], "duration_s": end}


def _write_benchmark(data: Path, runs: Sequence[Run], store: Clips, clips: dict[str, Clip]) -> dict[str, Any]:
    """The lists and pages of one benchmark; what the page must know of it before it loads them."""
    benchmark = runs[0].benchmark
    records = max((run.results for run in runs), key=len)
    new = [name for name in dict.fromkeys(str(record["media"]) for record in records) if name not in clips]
    with tqdm(store.prepare(new), total=len(new), desc=f"{benchmark.name}: clips", unit="clip") as bar:
        clips.update(bar)
    folder = data / benchmark.name
    folder.mkdir(parents=True)
    pages, rows = _Pages(folder, benchmark.name), []
    with tqdm(
        enumerate(records), total=len(records), desc=f"{benchmark.name}: answers", unit="record"
    ) as bar:
        for number, record in bar:
            shown = _shown(runs, number, record, clips[str(record["media"])])
            rows.append(_row(shown, pages.add(shown)))
    pages.close()
    lists = range(0, len(rows), LIST_RECORDS)
    for number, start in enumerate(lists):
        name = f"{benchmark.name}/list-{number:03d}"
        _write_script(data / f"{name}.js", name, rows[start : start + LIST_RECORDS])
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "records": len(records),
        "lists": len(lists),
        "runs": [{"model": run.model, "condition": run.condition, "label": run.label} for run in runs],
    }


def _shown(runs: Sequence[Run], number: int, record: Mapping[str, Any], clip: Clip) -> dict[str, Any]:
    """A record with its clip and every run's answers, by the run's place in the index."""
    benchmark = runs[0].benchmark
    at = runs[0]
    try:
        shown, answers = record_json(benchmark, record), {}
        for place, at in enumerate(runs):
            if number < len(at.results):
                answers[str(place)] = answer_json(at, number, shown["truth"]["name"], clip.size)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        where = f"{predictions.PREDICTIONS}/{at.model}/{benchmark.name}: record {number}"
        raise GalleryError(f"{where}: {str(error)[:200]}; evaluate this model again") from None
    return {"number": number, **shown, "media": clip.media, "missing": clip.missing, "runs": answers}


def _row(shown: Mapping[str, Any], page: int) -> dict[str, Any]:
    """What the list needs of a record, whose answers are in the file of this number."""
    return {
        "question": cut(shown["question"], MAX_LINE),
        "truth": cut(shown["truth"]["text"], MAX_LINE),
        "labels": " · ".join(shown["labels"]),
        "page": page,
        "runs": {
            place: [answer["score"], failures_in(answer), first_answer(answer)]
            for place, answer in shown["runs"].items()
        },
    }


class _Pages:
    """Records go into files of at most `PAGE_BYTES`, in order."""

    def __init__(self, folder: Path, benchmark: str) -> None:
        self._folder, self._benchmark = folder, benchmark
        self._number, self._size, self._held = 0, 0, []

    def add(self, record: Mapping[str, Any]) -> int:
        """The number of the file that the record goes into."""
        text = script_json(record)
        if self._held and self._size + len(text) > PAGE_BYTES:
            self.close()
            self._number += 1
        self._held.append(text)
        self._size += len(text)
        return self._number

    def close(self) -> None:
        """Write what is held."""
        name = f"page-{self._number:04d}"
        _write_call(self._folder / f"{name}.js", f"{self._benchmark}/{name}", f"[{','.join(self._held)}]")
        self._size, self._held = 0, []


def _failures() -> list[dict[str, str]]:
    return [{"key": one.key, "title": one.title, "meaning": one.meaning} for one in Failure]


def _write_page(folder: Path) -> None:
    for name, text in [*_own_files(), *zip(("player.js", "player.css"), assets(), strict=True)]:
        (folder / name).write_text(text, encoding="utf-8")


def _own_files() -> Iterator[tuple[str, str]]:
    for name in _FILES:
        yield name, (files("openo3.gallery") / name).read_text(encoding="utf-8")


def _write_script(path: Path, name: str, value: Any) -> None:
    _write_call(path, name, script_json(value))


def _write_call(path: Path, name: str, json: str) -> None:
    path.write_text(f"openo3Gallery.receive({script_json(name)}, {json});\n", encoding="utf-8")
