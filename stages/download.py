"""Stage `download`: annotations and exactly the media they name -> `data/raw`, manifest last.

python -m stages.download --plan        # what would be fetched from where, and nothing more
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openo3 import shapes
from openo3.annotations import sources
from openo3.annotations.catalogue import table
from openo3.annotations.rows import AnnotationError
from openo3.configuration import ConfigurationError
from openo3.fetch import local, overview, published
from openo3.fetch.http import Http
from openo3.fetch.joined import benchmarks_of, joined
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
    """`source` is one of `KINDS` or a list of several, whose data are joined (`openo3.fetch.joined`).

    A benchmark comes from the first source in the list that has it. `path` is the folder of `local`; two
    kinds have settings of their name.
    """

    source: str | tuple[str, ...]
    path: str | None = None
    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    published: Published = field(default_factory=Published)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        unknown = [name for name in self.sources if name not in KINDS]
        if unknown or not self.sources:
            found = f", found {unknown[0]!r}" if unknown else ""
            raise ValueError(f"source must be one or several of {', '.join(KINDS)}{found}")
        if len(set(self.sources)) < len(self.sources):
            raise ValueError("source names one source twice")

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,) if isinstance(self.source, str) else self.source


@contextmanager
def plan_local(params: Params, root: Path, without: Collection[str]) -> Iterator[Plan]:
    if params.path is None:
        raise ConfigurationError(
            "params.yaml: download.path: missing key, the folder with annotations and media"
        )
    yield local.plan(root / Path(params.path).expanduser(), without)


@contextmanager
def plan_shapes(params: Params, root: Path, without: Collection[str]) -> Iterator[Plan]:
    folder = root / CACHE / "shapes"
    shapes.generate(folder, params.shapes)
    yield local.plan(folder, without)


@contextmanager
def plan_published(params: Params, root: Path, without: Collection[str]) -> Iterator[Plan]:
    """Plan the published data. It fetches the annotations first, because they name the media."""
    path = _own_table(params, root)
    own = table.read(path) if path else table.Catalogue()
    catalogue = table.shipped().with_own(own)
    names = [name for name in params.published.annotations if name not in without]
    for name in params.published.annotations:
        if name in without:
            print(f"published {name}: left out, a source before it has this benchmark")
    folder = root / CACHE / "annotations"
    with sources.with_own(own.sources), Http(params.limits) as http:
        places = Places(http, root, params.limits)
        files = published.annotation_files(catalogue, names, places)
        sync(Plan(list(files)), folder, root / CACHE / "digests-annotations.jsonl", params.limits)
        plan = published.media(catalogue, files, folder, places, params.limits, params.published.leave_out)
        if path:
            plan.items.append(Item(OWN_SOURCES, LocalFile(path), "catalogue"))
        yield plan


KINDS: Mapping[str, Callable[[Params, Path, Collection[str]], Any]] = {
    "local": plan_local,
    "shapes": plan_shapes,
    "published": plan_published,
}
"""The plan of each kind of source, without some benchmarks."""


@contextmanager
def planned(params: Params, root: Path) -> Iterator[Plan]:
    """The plan of all sources together. If one of them cannot be planned, there is no plan at all, so a
    source that is away never costs the files of another.

    Sources of the user's own table count for the rows of every source.
    """
    with ExitStack() as stack:
        if path := "published" in params.sources and _own_table(params, root):
            stack.enter_context(sources.with_own(table.read(path).sources))
        plans: dict[str, Plan] = {}
        first: dict[str, str] = {}  # benchmark -> the source that has it
        for name in params.sources:
            plans[name] = stack.enter_context(KINDS[name](params, root, first.keys()))
            first |= dict.fromkeys(benchmarks_of(plans[name]), name)
        yield joined(plans, root / CACHE / "joined")


def _own_table(params: Params, root: Path) -> Path | None:
    return root / Path(params.published.table).expanduser() if params.published.table else None


def run(params: Params, root: Path) -> Summary:
    """Bring `data/raw` below `root` to what the parameters ask for."""
    with planned(params, root) as plan:
        return sync(plan, root / RAW, _known(params, root), params.limits)


def show_plan(params: Params, root: Path) -> None:
    """Print what `run` would fetch."""
    with planned(params, root) as plan:
        overview.show(
            plan, to_fetch(plan, root / RAW, _known(params, root)), free=shutil.disk_usage(root).free
        )


def _known(params: Params, root: Path) -> Path:
    return root / CACHE / f"digests-{'+'.join(params.sources)}.jsonl"


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
