"""Stage `download`: annotations and exactly the media they name -> `data/raw`, manifest last.

python -m stages.download --plan        # what would be fetched from where, and nothing more
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from openo3 import shapes
from openo3.annotations import sources
from openo3.annotations.catalogue import table
from openo3.annotations.rows import AnnotationError
from openo3.configuration import ConfigurationError
from openo3.fetch import local, overview, published
from openo3.fetch.http import Http
from openo3.fetch.limits import Limits
from openo3.fetch.manifest import OWN_SOURCES
from openo3.fetch.places import Places
from openo3.fetch.plan import FetchError, Item, Plan
from openo3.fetch.random_access import LocalFile
from openo3.fetch.sync import Summary, sync, to_fetch
from openo3.shapes import ShapesConfig
from stages.params import load_params, wrong

RAW, CACHE = Path("data/raw"), Path(".cache/openo3")
WRONG = (AnnotationError, ConfigurationError, FileExistsError)
"""Errors that a retry cannot fix, such as a wrong parameter."""


@dataclass(frozen=True)
class Published:
    """Which `annotations` of the catalogue to take; `table` is the user's own file that adds to it.

    Media of the sources that `leave_out` names, as the catalogue does, count as missing.
    """

    annotations: tuple[str, ...] = ("sft", "rl", "vstar", "tvgbench")
    table: str | None = None
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Params:
    """`source` is one of `KINDS`; `path` is the folder of `local`; two kinds have settings of their name."""

    source: Literal["shapes", "local", "published"]
    path: str | None = None
    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    published: Published = field(default_factory=Published)
    limits: Limits = field(default_factory=Limits)


@contextmanager
def plan_local(params: Params, root: Path) -> Iterator[Plan]:
    if params.path is None:
        raise ConfigurationError(
            "params.yaml: download.path: missing key, the folder with annotations and media"
        )
    yield local.plan(root / Path(params.path).expanduser())


@contextmanager
def plan_shapes(params: Params, root: Path) -> Iterator[Plan]:
    folder = root / CACHE / "shapes"
    shapes.generate(folder, params.shapes)
    yield local.plan(folder)


@contextmanager
def plan_published(params: Params, root: Path) -> Iterator[Plan]:
    """Plan the published data. It fetches the annotations first, because they name the media."""
    path = params.published.table and root / Path(params.published.table).expanduser()
    own = table.read(path) if path else table.Catalogue()
    catalogue = table.shipped().with_own(own)
    folder = root / CACHE / "annotations"
    with sources.with_own(own.sources), Http(params.limits) as http:
        places = Places(http, root, params.limits)
        files = published.annotation_files(catalogue, params.published.annotations, places)
        sync(Plan(list(files)), folder, root / CACHE / "digests-annotations.jsonl", params.limits)
        plan = published.media(catalogue, files, folder, places, params.limits, params.published.leave_out)
        if path:
            plan.items.append(Item(OWN_SOURCES, LocalFile(path), "catalogue"))
        yield plan


KINDS: Mapping[str, Callable[[Params, Path], Any]] = {
    "local": plan_local,
    "shapes": plan_shapes,
    "published": plan_published,
}


def run(params: Params, root: Path) -> Summary:
    """Bring `data/raw` below `root` to what the parameters ask for."""
    with KINDS[params.source](params, root) as plan:
        return sync(plan, root / RAW, _known(params, root), params.limits)


def show_plan(params: Params, root: Path) -> None:
    """Print what `run` would fetch."""
    with KINDS[params.source](params, root) as plan:
        overview.show(
            plan, to_fetch(plan, root / RAW, _known(params, root)), free=shutil.disk_usage(root).free
        )


def _known(params: Params, root: Path) -> Path:
    return root / CACHE / f"digests-{params.source}.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.download")
    parser.add_argument("--plan", action="store_true", help="show what would be fetched, and exit")
    only_plan = parser.parse_args().plan
    try:
        params = load_params("download", Params)
        if only_plan:
            show_plan(params, Path("."))
            return
        done = run(params, Path("."))
    except FetchError as error:
        sys.exit(f"download: {error}")
    except WRONG as error:
        wrong(f"download: {error}")
    print(
        f"download: {done.files:,} files, {done.copied:,} of them new or changed "
        f"({done.copied_bytes / 1e6:,.1f} MB), {done.removed:,} removed, {done.missing:,} unavailable"
    )


if __name__ == "__main__":
    main()
