"""How much of the data can be used: counts by file, source and task, and by reason of rejection.

{"rows": 68397, "usable": 61022, "rejected": 7375, "rejected_share": 0.1078,
 "files": {"sft": {"rows": 31166, "usable": 27800, "rejected": 3366, "rejected_share": 0.108}},
 "reasons": {"media missing": 7012, "box inverted": 363},
 "media": {"files": 41280, "unsafe": 0, "missing": 6110, "unreadable": 0},
 "sources": {"sft": {"STR_coin": {"temporal-spatial free-form QA":
     {"rows": 670, "readable": 670, "media": 668, "key_frames": 670, "usable": 655}}}}}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, astuple, dataclass
from operator import add
from typing import Any

import pandas as pd

from openo3 import sources
from openo3.rejections import Rejection, RowError
from openo3.schema import Task
from openo3.validation.formats import BENCHMARK
from openo3.validation.media import PROBLEMS
from openo3.validation.suites import READABLE, STATE

UNKNOWN = "unknown"
"""Every source and task that there is not: an untrusted row may say anything."""


@dataclass(frozen=True)
class Coverage:
    """Rows; those that could be read; of these the ones whose media, and whose key-frame images, are there;
    and those that keep every rule."""

    rows: int
    readable: int
    media: int
    key_frames: int
    usable: int


def by_source(frame: pd.DataFrame, rejected: Collection[int]) -> dict[tuple[str, str], Coverage]:
    """Coverage by (source, task) of the rows of a block."""
    readable = frame[STATE] == READABLE
    counts = pd.DataFrame(
        {
            "source": _known(frame["source"], _is_source),
            "task": _known(frame["task"], _is_task),
            "rows": 1,
            "readable": readable,
            "media": readable & ~_has_problem(frame, "media"),
            "key_frames": readable & ~_has_problem(frame, "key_frames.path"),
            "usable": ~frame.index.isin(list(rejected)),
        }
    )
    sums = counts.groupby(["source", "task"]).sum().astype(int)
    return {key: Coverage(**{name: int(n) for name, n in row.items()}) for key, row in sums.iterrows()}


def joined(
    one: Mapping[tuple[str, str], Coverage], other: Mapping[tuple[str, str], Coverage]
) -> dict[tuple[str, str], Coverage]:
    """The sum of both, in alphabetical order."""
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
    """The numbers of `metrics/validation.json`, as the module shows them; all but `media` by file."""
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in covered}
    for name, by_source in covered.items():
        for (source, task), coverage in by_source.items():
            found[name].setdefault(source, {})[task] = asdict(coverage)
    reasons = Counter(str(each.reason) for by_row in rejected.values() for each in by_row.values())
    return {
        **shares(sum(rows.values()), sum(map(len, rejected.values()))),
        "files": {name: shares(count, len(rejected[name])) for name, count in rows.items()},
        "reasons": dict(reasons.most_common()),
        "media": dict(media),
        "sources": found,
    }


def too_many(metrics: Mapping[str, Any], max_share: float) -> list[str]:
    """The files of which a larger share than `max_share` is rejected."""
    return [name for name, counts in metrics["files"].items() if counts["rejected_share"] > max_share]


def summary(metrics: Mapping[str, Any]) -> str:
    """One line about each file, and the reasons."""
    lines = [
        f"{name}: {counts['usable']:,} of {counts['rows']:,} rows usable, "
        f"{percent(counts['rejected_share'])} rejected"
        for name, counts in metrics["files"].items()
    ]
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in metrics["reasons"].items())
    return "\n".join([*lines, f"rejected for: {reasons}"] if reasons else lines)


def shares(rows: int, rejected: int) -> dict[str, float]:
    share = round(rejected / rows, 6) if rows else 0.0
    return {"rows": rows, "usable": rows - rejected, "rejected": rejected, "rejected_share": share}


def percent(share: float) -> str:
    """A share as a reader wants it: `100 %` and `0 %` only when it is all or nothing.

    >>> percent(0.99999), percent(0.5)
    ('99.9 %', '50.0 %')
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"


def _has_problem(frame: pd.DataFrame, field: str) -> pd.Series:
    columns = [f"{field}.{problem}" for problem in PROBLEMS if f"{field}.{problem}" in frame]
    return frame[columns].notna().any(axis=1)


def _known(names: pd.Series, is_known: Callable[[str], bool]) -> pd.Series:
    """The names, with `UNKNOWN` for those that are not."""
    unknown = {name for name in names.dropna().unique() if not is_known(name)}
    return names.where(~names.isin(unknown), UNKNOWN).fillna(UNKNOWN)


def _is_source(name: str) -> bool:
    try:
        sources.get(name)
    except RowError:
        return False
    return True


def _is_task(name: str) -> bool:
    return name == BENCHMARK or name in set(Task)
