"""The plans of several sources as one plan, so that their data come together in one folder.

    joined({"published": plan, "local": other}, Path(".cache/openo3/joined"))

The rows of a training file that several sources have become one file, in the order of the sources; each row
still names its own `source`. Media keep their paths: those of one source lie apart from those of another.
"""

from __future__ import annotations

import filecmp
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from openo3.annotations.files import STGR_FILES, targets
from openo3.annotations.rows import read_rows
from openo3.benchmarks.registry import ANNOTATION_FILES
from openo3.fetch.plan import Item, Missing, Plan
from openo3.fetch.random_access import LocalFile

ROWS = {targets(file.filename, [""])[0] for file in STGR_FILES}
"""The targets of files whose rows are joined."""


def joined(plans: Mapping[str, Plan], folder: Path) -> Plan:
    """One plan for the plans of several sources. Joined training files are written to `folder`.

    A file that one source lacks and another has is not missing. Whether two sources would write different
    files to one path is for `sync`, which refuses it.

    Raises `AnnotationError` if a training file cannot be read.
    """
    if len(plans) == 1:
        return next(iter(plans.values()))
    result = Plan()
    parts: dict[str, dict[str, Path]] = {}
    for source, plan in plans.items():
        for item in plan.items:
            if item.target in ROWS and isinstance(item.origin, LocalFile):
                parts.setdefault(item.target, {})[source] = item.origin.path
            else:
                result.items.append(item)
    for target, files in parts.items():
        items = [item for plan in plans.values() for item in plan.items if item.target == target]
        result.items.append(items[0] if len(files) == 1 else _concatenated(target, files, folder))
    there = {item.target for item in result.items}
    missing: dict[str, Missing] = {}
    for plan in plans.values():
        for each in plan.missing:
            if f"media/{each.path}" not in there:
                missing.setdefault(each.path, each)
        result.unreachable.update(
            {p: why for p, why in plan.unreachable.items() if f"media/{p}" not in there}
        )
    result.missing.extend(missing.values())
    return result


def benchmarks_of(plan: Plan) -> set[str]:
    """The names of the benchmarks whose annotations are in the plan."""
    annotated = [item.target for item in plan.items if item.source == "annotations"]
    others = [file for file in ANNOTATION_FILES if file not in STGR_FILES]
    return {file.name for file in others if _any_of(annotated, f"annotations/{file.filename}")}


def _any_of(paths: Iterable[str], target: str) -> bool:
    return any(path == target or (target.endswith("/") and path.startswith(target)) for path in paths)


def _concatenated(target: str, files: Mapping[str, Path], folder: Path) -> Item:
    """The rows of all files in one, and a line that says which are whose. An equal file is kept as it is, so
    that it counts as unchanged."""
    path = folder / Path(target).name
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    counts, first = [], 0
    with open(part, "w", encoding="utf-8") as out:  # ASCII: text that is no Unicode stays as it is
        for source, file in files.items():
            number = 0
            for number, row in enumerate(read_rows(file), start=1):
                out.write(("[\n" if first + number == 1 else ",\n") + json.dumps(row))
            counts.append(
                f"{number:,} of {source}" + (f" (rows {first} to {first + number - 1})" if number else "")
            )
            first += number
        out.write("\n]\n" if first else "[]\n")
    print(f"{path.name}: {', then '.join(counts)}")
    if path.exists() and filecmp.cmp(part, path, shallow=False):
        part.unlink()
    else:
        os.replace(part, path)
    return Item(target, LocalFile(path), "annotations")
