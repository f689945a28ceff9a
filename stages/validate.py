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
from openo3.configuration import within
from openo3.fetch.manifest import OWN_SOURCES
from openo3.files.artifacts import atomic_directory, write_json
from openo3.validation import coverage, page, pictures
from openo3.validation.check import check
from openo3.validation.media import read_index
from stages.params import load_params

RAW, VALIDATED, CACHE = Path("data/raw"), Path("data/validated"), Path(".cache/openo3")
METRICS, REPORT = Path("metrics/validation.json"), Path("reports/validation")


@dataclass(frozen=True)
class Params:
    """The stage fails if more than `max_rejected_share` of the rows of one file is rejected.

    With a `max_missing_share`, rows whose only problem is unavailable media count against that share instead.
    Times may lie `time_tolerance_s` after the end of the media; the page lists `listed_rows` rejected rows.
    `time_limit_s` is for inspecting one file of up to 1 GiB and grows with larger ones.
    """

    max_rejected_share: float
    time_tolerance_s: float = 0.5
    listed_rows: int = 500
    max_missing_share: float | None = None
    time_limit_s: float = 60.0

    def __post_init__(self) -> None:
        within("max_rejected_share", self.max_rejected_share, at_least=0, at_most=1)
        within("max_missing_share", self.max_missing_share, at_least=0, at_most=1)
        within("time_tolerance_s", self.time_tolerance_s, at_least=0)
        within("listed_rows", self.listed_rows, at_least=0)
        within("time_limit_s", self.time_limit_s, above=0)


def run(params: Params, root: Path) -> str | None:
    """Write every artifact below `root`; return one line if too many rows are rejected."""
    (root / CACHE).mkdir(parents=True, exist_ok=True)
    own = root / RAW / OWN_SOURCES
    known = root / CACHE / "media.jsonl"
    index = read_index(root / RAW, known, lambda: _dvc_cache(root), params.time_limit_s)
    with (
        sources.with_own(table.read(own).sources if own.exists() else {}),
        tempfile.TemporaryDirectory(dir=root / CACHE) as spool,
    ):
        validation = check(root / RAW / "annotations", index, Path(spool), params.time_tolerance_s)
        with atomic_directory(root / VALIDATED) as folder:
            validation.write(folder)
        drawn = pictures.draw(validation, root / VALIDATED, root / RAW / "media")
    metrics = validation.metrics() | {"missing": coverage.missing_files(root / RAW)}
    write_json(root / METRICS, metrics)
    with atomic_directory(root / REPORT) as folder:
        html = page.html(
            metrics,
            validation.outcomes,
            validation.rejections(),
            validation.measured,
            params.max_rejected_share,
            params.max_missing_share,
            params.listed_rows,
            drawn,
        )
        (folder / "index.html").write_text(html, encoding="utf-8")
    print(coverage.summary(metrics))
    for what, count in validation.warnings.items():
        print(f"warning: {what}: {count:,} rows")
    for name in validation.absent():
        print(f"{name}: no annotation file, its stages have nothing to do")
    if failed := coverage.too_many(metrics, params.max_rejected_share, params.max_missing_share):
        allowed = coverage.allowed(params.max_rejected_share, params.max_missing_share)
        return (
            f"more than {allowed} of {', '.join(failed)} is rejected, see {REPORT / 'index.html'}; "
            "if these rows are really unusable, raise validate.max_rejected_share"
        )
    if metrics["missing"]:
        print(coverage.goes_on(metrics))
    return None


def _dvc_cache(root: Path) -> Iterable[Path]:
    """The folder that DVC's links lead to, if `root` is one of its repositories."""
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
