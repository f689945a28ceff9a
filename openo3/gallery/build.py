"""Writing the gallery's folder: whole or not at all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from openo3.core.failures import Failure
from openo3.files.artifacts import atomic_directory, write_json
from openo3.gallery import predictions
from openo3.gallery.clips import FOLDER, Clip, Clips, Known, known_again, read_known
from openo3.gallery.entries import answer_json, failures_in, first_answer, record_json
from openo3.gallery.paged import MAX_LINE, Pages, cut, write_assets, write_lists, write_script
from openo3.gallery.predictions import GalleryError, Run
from openo3.player.clip import megabytes

PAGE = "index.html"
MARKER = "gallery.json"
"""Says that a folder is a gallery, which may be replaced, and which clips it has."""

_FILES = (PAGE, "gallery.js", "gallery.css")
_OWN = re.compile(
    r"index\.html|(?:gallery|browse|player)\.(?:js|css)|gallery\.json|data/index\.js|data/[^/]+/(?:list|page)-\d+\.js"
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
        store = Clips(root / "data/raw/media", folder, out, known, lambda: [root / ".dvc/cache"])
        index = []
        for paths in found.values():
            runs = [predictions.read(path) for path in paths]
            for run in runs[1:]:
                predictions.check_same_records(runs[0], run)
            index.append(_write_benchmark(folder / "data", runs, store, clips))
            counts["records"] += index[-1]["records"]
            counts["predictions"] += sum(len(run.results) for run in runs)
        write_script(folder / "data/index.js", "index", {"benchmarks": index, "failures": _failures()})
        write_assets(folder, "openo3.gallery", _FILES)
        write_json(folder / MARKER, {"gallery": 1, "clips": known_again(clips.values())})
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
    return read_known(out / MARKER)


def _write_benchmark(data: Path, runs: Sequence[Run], store: Clips, clips: dict[str, Clip]) -> dict[str, Any]:
    """The lists and pages of one benchmark; what the page must know of it before it loads them."""
    benchmark = runs[0].benchmark
    records = max((run.results for run in runs), key=len)
    new = [name for name in dict.fromkeys(str(record["media"]) for record in records) if name not in clips]
    with tqdm(store.prepare(new), total=len(new), desc=f"{benchmark.name}: clips", unit="clip") as bar:
        clips.update(bar)
    folder = data / benchmark.name
    folder.mkdir(parents=True)
    pages, rows = Pages(folder, benchmark.name), []
    with tqdm(
        enumerate(records), total=len(records), desc=f"{benchmark.name}: answers", unit="record"
    ) as bar:
        for number, record in bar:
            shown = _shown(runs, number, record, clips[str(record["media"])])
            rows.append(_row(shown, pages.add(shown)))
    pages.close()
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "records": len(records),
        "lists": write_lists(data, benchmark.name, rows),
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


def _failures() -> list[dict[str, str]]:
    return [{"key": one.key, "title": one.title, "meaning": one.meaning} for one in Failure]
