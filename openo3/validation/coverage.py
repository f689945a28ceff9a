"""How much of the data can be used: counts by file, source and task, and by reason of rejection.

{"rows": 68397, "usable": 61022, "rejected": 7375, "rejected_share": 0.1078,
 "files": {"sft": {"rows": 31166, "usable": 27800, "rejected": 3366, "missing": 3020,
                   "rejected_share": 0.108}},
 "reasons": {"media missing": 7012, "box inverted": 363},
 "media": {"files": 41280, "unsafe": 0, "missing": 6110, "unreadable": 0, "duplicates": 12},
 "sources": {"sft": {"STR_coin": {"temporal-spatial free-form QA":
     {"rows": 670, "readable": 670, "media": 668, "key_frames": 670, "usable": 655}}}},
 "missing": {"timerft": {"not in hf://datasets/...": {"files": 12, "example": "videos/timerft/x.mp4"}}}}

`missing` counts rejected rows whose only problem is an unavailable media file, `duplicates` media files with
the content of another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from openo3.annotations import sources
from openo3.annotations.rejections import Reason, Rejection, RowError
from openo3.core.schema import STGR_TASKS
from openo3.fetch.manifest import MISSING
from openo3.files.artifacts import read_jsonl
from openo3.validation.formats import BENCHMARK
from openo3.validation.layout import percent
from openo3.validation.media import PROBLEMS
from openo3.validation.suites import READABLE, STATE

LACKING = (Reason.MEDIA_MISSING, Reason.KEY_IMAGE_MISSING)
"""Reasons that are about unavailable files rather than about the row."""

UNKNOWN = "unknown"
"""Stands for every source and task that is not known: rows are untrusted."""


@dataclass(frozen=True)
class Coverage:
    """Numbers of rows: all, the readable ones, of these the ones whose media are usable and the ones whose
    key-frame images are usable, and those that satisfy every rule."""

    rows: int
    readable: int
    media: int
    key_frames: int
    usable: int


def by_source(frame: pd.DataFrame, rejected: Collection[int]) -> dict[tuple[str, str], Coverage]:
    """Coverage by (source, task) of the rows of a block."""
    readable = frame[STATE] == READABLE
    keys = list(zip(_known(frame["source"], _is_source), _known(frame["task"], _is_task), strict=True))
    counts = [
        Counter(key for key, counted in zip(keys, flags, strict=True) if counted)
        for flags in (
            [True] * len(keys),
            readable,
            readable & ~_has_problem(frame, "media"),
            readable & ~_has_problem(frame, "key_frames.path"),
            ~frame.index.isin(list(rejected)),
        )
    ]
    return {key: Coverage(*(count[key] for count in counts)) for key in sorted(counts[0])}


def joined(
    one: Mapping[tuple[str, str], Coverage], other: Mapping[tuple[str, str], Coverage]
) -> dict[tuple[str, str], Coverage]:
    """The sum of both, by source and task in alphabetical order."""
    nothing = Coverage(0, 0, 0, 0, 0)
    return {
        key: Coverage(*map(add, astuple(one.get(key, nothing)), astuple(other.get(key, nothing))))
        for key in sorted({*one, *other})
    }


def metrics(
    rows: Mapping[str, int],
    covered: Mapping[str, Mapping[tuple[str, str], Coverage]],
    rejected: Mapping[str, Mapping[int, Rejection]],
    media: Mapping[str, int],
) -> dict[str, Any]:
    """The numbers of `metrics/validation.json`, as in the module's docstring; all but `media` are by file."""
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in covered}
    for name, by_source in covered.items():
        for (source, task), coverage in by_source.items():
            found[name].setdefault(source, {})[task] = asdict(coverage)
    reasons = Counter(str(each.reason) for by_row in rejected.values() for each in by_row.values())
    lacking = {
        name: sum(each.reason in LACKING for each in by_row.values()) for name, by_row in rejected.items()
    }
    return {
        **shares(sum(rows.values()), sum(map(len, rejected.values())), sum(lacking.values())),
        "files": {name: shares(count, len(rejected[name]), lacking[name]) for name, count in rows.items()},
        "reasons": dict(reasons.most_common()),
        "media": dict(media),
        "sources": found,
    }


def missing_files(raw: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The unavailable files by source and reason: how many, and one example."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for line in read_jsonl(raw / MISSING) if (raw / MISSING).exists() else ():
        reasons = found.setdefault(line["source"], {})
        counts = reasons.setdefault(line["detail"].removeprefix(f"{line['path']}: "), {"files": 0})
        counts["files"] += 1
        hint = line.get("hint")
        counts.setdefault("example", f"{line['path']} ({hint})" if hint else line["path"])
    return found


def too_many(metrics: Mapping[str, Any], max_share: float, max_missing: float | None = None) -> list[str]:
    """The files of which a larger share than `max_share` is rejected.

    With `max_missing`, that share applies to rows whose only problem is unavailable media, and `max_share` to
    the other rejected rows.
    """
    return [name for name, counts in metrics["files"].items() if _is_too_much(counts, max_share, max_missing)]


def _is_too_much(counts: Mapping[str, Any], max_share: float, max_missing: float | None) -> bool:
    if max_missing is None:
        return counts["rejected_share"] > max_share
    rows = counts["rows"] or 1
    missing = counts["missing"]
    return missing / rows > max_missing or (counts["rejected"] - missing) / rows > max_share


def summary(metrics: Mapping[str, Any]) -> str:
    """One line about each file, what was clipped, and the reasons."""
    clipped = metrics.get("clipped", {})
    lines = [
        f"{name}: {counts['usable']:,} of {counts['rows']:,} rows usable, "
        f"{percent(counts['rejected_share'])} rejected" + _of_them_missing(counts)
        for name, counts in metrics["files"].items()
    ]
    lines += [
        f"{name}: {count:,} records clipped, listed in clipped.jsonl" for name, count in clipped.items()
    ]
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in metrics["reasons"].items())
    return "\n".join([*lines, f"rejected for: {reasons}"] if reasons else lines)


def allowed(max_share: float, max_missing: float | None) -> str:
    """The limits in words."""
    if max_missing is None:
        return percent(max_share)
    return f"{percent(max_share)} (or {percent(max_missing)} for unavailable media)"


def goes_on(metrics: Mapping[str, Any]) -> str:
    """A message for a run that continues although some files are missing."""
    count = sum(each["files"] for reasons in metrics["missing"].values() for each in reasons.values())
    return (
        f"{count:,} media files are unavailable, which is within the limits. The run continues with the "
        f"{metrics['usable']:,} usable rows; `openo3 coverage` shows what is missing"
    )


def _of_them_missing(counts: Mapping[str, Any]) -> str:
    return f", {counts['missing']:,} of them because their media are unavailable" if counts["missing"] else ""


def shares(rows: int, rejected: int, missing: int = 0) -> dict[str, float]:
    share = round(rejected / rows, 6) if rows else 0.0
    counts = {"rows": rows, "usable": rows - rejected, "rejected": rejected, "missing": missing}
    return {**counts, "rejected_share": share}


def _has_problem(frame: pd.DataFrame, field: str) -> NDArray[np.bool_]:
    columns = [f"{field}.{problem}" for problem in PROBLEMS if f"{field}.{problem}" in frame]
    return np.any(frame[columns].notna().to_numpy(bool), axis=1)


def _known(names: Iterable[Any], is_known: Callable[[str], bool]) -> list[str]:
    """The names, with `UNKNOWN` in place of unknown and absent ones."""
    names = list(names)
    known = {name for name in set(names) if isinstance(name, str) and is_known(name)}
    return [name if name in known else UNKNOWN for name in names]


def _is_source(name: str) -> bool:
    try:
        sources.get(name)
    except RowError:
        return False
    return True


def _is_task(name: str) -> bool:
    return name == BENCHMARK or name in STGR_TASKS
