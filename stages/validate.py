"""Stage `validate`: annotations and media -> canonical records, rejections with reasons, counts, a page."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from openo3.annotations import sources
from openo3.annotations.catalogue import table
from openo3.annotations.rows import AnnotationError
from openo3.fetch.manifest import OWN_SOURCES
from openo3.files.artifacts import atomic_directory, write_json
from openo3.validation import coverage, page
from openo3.validation.check import check
from openo3.validation.media import read_index
from stages.params import load_params

RAW, VALIDATED, CACHE = Path("data/raw"), Path("data/validated"), Path(".cache/openo3")
METRICS, REPORT = Path("metrics/validation.json"), Path("reports/validation")


@dataclass(frozen=True)
class Params:
    """The stage fails if more than `max_rejected_share` of the rows of one file is rejected.

    With a `max_missing_share`, rows that lack nothing but media that could not be had count against that
    share alone, and what is covered is gone on with. Times may lie `time_tolerance_s` after the end of the
    media; the page lists `listed_rows` rejected rows.
    """

    max_rejected_share: float
    time_tolerance_s: float = 0.5
    listed_rows: int = 500
    max_missing_share: float | None = None


def run(params: Params, root: Path) -> str | None:
    """Write every artifact below `root`; return what is wrong with the whole, if too much is."""
    (root / CACHE).mkdir(parents=True, exist_ok=True)
    own = root / RAW / OWN_SOURCES
    sources.use(table.read(own).sources if own.exists() else {})
    index = read_index(root / RAW, root / CACHE / "media.jsonl", trusted=lambda: _dvc_cache(root))
    with tempfile.TemporaryDirectory(dir=root / CACHE) as spool:
        validation = check(root / RAW / "annotations", index, Path(spool), params.time_tolerance_s)
        with atomic_directory(root / VALIDATED) as folder:
            validation.write(folder)
    metrics = validation.metrics() | {"missing": coverage.missing_files(root / RAW)}
    write_json(root / METRICS, metrics)
    with atomic_directory(root / REPORT) as folder:
        html = page.html(
            metrics,
            validation.outcomes,
            validation.rejections(),
            params.max_rejected_share,
            params.max_missing_share,
            params.listed_rows,
        )
        (folder / "index.html").write_text(html, encoding="utf-8")
    print(coverage.summary(metrics))
    for name in validation.absent():
        print(f"{name}: no annotation file, its stages have nothing to do")
    if failed := coverage.too_many(metrics, params.max_rejected_share, params.max_missing_share):
        allowed = coverage.allowed(params.max_rejected_share, params.max_missing_share)
        return f"more than {allowed} of {', '.join(failed)} is rejected, see {REPORT / 'index.html'}"
    if metrics["missing"]:
        print(coverage.goes_on(metrics))
    return None


def _dvc_cache(root: Path) -> Iterable[Path]:
    """Where the links lead that DVC makes, if `root` is one of its repositories."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        return [Path(Repo(str(root)).cache.local_cache_dir)]
    except NotDvcRepoError:
        return []


def main() -> None:
    params = load_params("validate", Params)
    try:
        problem = run(params, Path("."))
    except AnnotationError as error:
        problem = str(error)
    if problem:
        sys.exit(f"validate: {problem}")


if __name__ == "__main__":
    main()
