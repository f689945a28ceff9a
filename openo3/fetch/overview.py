"""Summarise a plan by source, as a table in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from openo3.fetch.limits import GB
from openo3.fetch.plan import Item, Plan
from openo3.fetch.tars import TarMember, TarSeries


@dataclass
class SourceSummary:
    """Counts of one source. `unknown` counts files of unknown size. Each of `tars` is read at most once."""

    files: int = 0
    to_fetch: int = 0
    traffic: int = 0
    size: int = 0
    unknown: int = 0
    missing: int = 0
    tars: dict[str, TarSeries] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, item: Item, fetched: bool) -> None:
        self.files += 1
        if not fetched:
            return
        self.to_fetch += 1
        self.traffic += item.origin.traffic or 0
        self.size += item.origin.size or 0
        self.unknown += item.origin.size is None
        if isinstance(item.origin, TarMember):
            self.tars[item.origin.series.identity] = item.origin.series

    def __add__(self, other: SourceSummary) -> SourceSummary:
        counts = ("files", "to_fetch", "traffic", "size", "unknown", "missing")
        summed = {name: getattr(self, name) + getattr(other, name) for name in counts}
        return SourceSummary(**summed, tars=self.tars | other.tars, reasons=self.reasons + other.reasons)

    @property
    def read(self) -> str:
        tar_bytes = sum(series.size for series in self.tars.values())
        return (
            ("at most " if tar_bytes else "")
            + _gb(self.traffic + tar_bytes)
            + (" + ?" if self.unknown and not tar_bytes else "")
        )

    @property
    def disk(self) -> str:
        return _gb(self.size) + (f" + {self.unknown:,} files" if self.unknown else "")


def by_source(plan: Plan, to_fetch: Collection[Item]) -> dict[str, SourceSummary]:
    """The summary of each source, in alphabetical order."""
    found: dict[str, SourceSummary] = {}
    fetched = set(to_fetch)
    for item in plan.items:
        found.setdefault(item.source, SourceSummary()).count(item, item in fetched)
    for each in plan.missing:
        line = found.setdefault(each.source, SourceSummary())
        line.missing += 1
        line.reasons[each.detail] += 1
    return dict(sorted(found.items()))


def show(plan: Plan, to_fetch: Collection[Item], free: int) -> None:
    table = Table("source", title="What download would fetch", title_justify="left")
    for name in ("wanted", "there", "to fetch", "to read", "on disk", "unavailable"):
        table.add_column(name, justify="right")
    found = by_source(plan, to_fetch)
    total = sum(found.values(), SourceSummary())
    rows = [*found.items(), *([("all", total)] if len(found) > 1 else [])]
    for number, (source, line) in enumerate(rows, start=1):
        table.add_row(
            source,
            f"{line.files + line.missing:,}",
            f"{line.files - line.to_fetch:,}",
            f"{line.to_fetch:,}",
            line.read,
            line.disk,
            f"{line.missing:,}",
            end_section=number == len(found),
        )
    console = Console()
    console.width = max(console.width, 110)
    console.print(table)
    for reason, number in total.reasons.most_common(20):
        print(f"unavailable, {number:,} files: {reason}")
    print(f"disk: {_gb(total.size)} needed, {_gb(free)} free")


def _gb(count: int) -> str:
    return f"{count / GB:,.2f} GB" if count >= GB / 100 else f"{count / 1e6:,.1f} MB"
