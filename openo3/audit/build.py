"""Writing an audit: its numbers as JSON and its page, each whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openo3.audit import page, summary
from openo3.audit.run import Limits, Settings, finish, measured
from openo3.files.artifacts import atomic_file, write_json
from openo3.model.necessity import MAIN


@dataclass(frozen=True)
class Summary:
    """What was written, and the report that `numbers` holds."""

    numbers: Path
    page: Path
    report: Mapping[str, Any]

    def __str__(self) -> str:
        counts, main = self.report["counts"], self.report["numbers"][MAIN]
        kept = self.report["sufficiency"][MAIN]["sufficiency"]
        sufficiency = f"{_written(kept, '.0%')} kept by the cited boxes alone; " if kept else ""
        return (
            f"{self.page}: {counts['claims']:,} claims of {counts['answers']:,} answers: "
            f"necessity {_written(main['necessity'], '.2f')} nats, "
            f"{_written(main['decorative'], '.0%')} decorative; {sufficiency}numbers in {self.numbers}"
        )


def write(root: Path, model: str, settings: Settings, out: Path, limits: Limits | None = None) -> Summary:
    """Audit a checkpoint of the repository at `root` and write `MODEL.json` and `MODEL.html` to the folder
    `out`.

    Raises `ValueError` after one line where something is missing or there is nothing to audit.
    """
    answers, records, work = measured(root, model, settings, limits)
    report = summary.report(model, settings, records)
    numbers, shown = out / f"{model}.json", out / f"{model}.html"
    write_json(numbers, report)
    with atomic_file(shown) as part:
        part.write_text(page.html(report, answers), encoding="utf-8")
    finish(work)
    return Summary(numbers, shown, report)


def _written(interval: Mapping[str, float], form: str) -> str:
    value, low, high = (format(interval[name], form) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
