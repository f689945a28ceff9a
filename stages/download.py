"""Stage `download`: annotations and exactly the media they name -> `data/raw`, manifest last."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from openo3 import shapes
from openo3.fetch import local
from openo3.fetch.plan import FetchError, Plan
from openo3.fetch.sync import Summary, sync
from openo3.rows import AnnotationError
from stages.params import load_params

RAW, CACHE = Path("data/raw"), Path(".cache/openo3")


@dataclass(frozen=True)
class Params:
    """`source` is a kind of `KINDS`; `path` is the folder of kind `local`, `shapes` are its settings."""

    source: Literal["shapes", "local"]
    path: str | None = None
    shapes: dict[str, Any] = field(default_factory=dict)


def plan_local(params: Params, root: Path) -> Plan:
    if params.path is None:
        raise FetchError("params.yaml: download.path: missing, the folder to take annotations and media from")
    return local.plan(root / Path(params.path).expanduser())


def plan_shapes(params: Params, root: Path) -> Plan:
    folder = root / CACHE / "shapes"
    shapes.generate(folder, **params.shapes)
    return local.plan(folder)


KINDS: Mapping[str, Callable[[Params, Path], Plan]] = {"local": plan_local, "shapes": plan_shapes}


def run(params: Params, root: Path) -> Summary:
    """Bring `data/raw` below `root` to what the parameters ask for."""
    plan = KINDS[params.source](params, root)
    return sync(plan, root / RAW, known=root / CACHE / f"digests-{params.source}.jsonl")


def main() -> None:
    try:
        done = run(load_params("download", Params), Path("."))
    except (FetchError, AnnotationError, FileExistsError) as error:
        sys.exit(f"download: {error}")
    print(
        f"download: {done.files:,} files, {done.copied:,} of them new or changed "
        f"({done.copied_bytes / 1e6:,.1f} MB), {done.removed:,} removed, {done.missing:,} not to be had"
    )


if __name__ == "__main__":
    main()
