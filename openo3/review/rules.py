"""Rows against the rules of `validate`, at once: Great Expectations takes seconds to start.

The rules and what they say are those of `openo3.validation.suites`; a test holds both ways of checking
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd

from openo3.annotations.rejections import Rejection
from openo3.validation import suites
from openo3.validation.formats import Format
from openo3.validation.media import MediaIndex
from openo3.validation.suites import Expectation, Outcome, Rule
from openo3.validation.table import AnnotationTable


class Checker:
    """Times may lie `time_tolerance_s` beyond the end of the media. `spool` is an empty folder."""

    def __init__(self, index: MediaIndex, spool: Path, time_tolerance_s: float) -> None:
        self._index, self._spool = index, spool
        self._rules = suites.rules(time_tolerance_s)
        self._lock = Lock()  # threads share the spool

    def rejections(
        self, path: Path, format: Format, rows: Sequence[Any], threads: int
    ) -> dict[int, Rejection]:
        """The rejected rows of a file by number; its media files are looked at first."""
        with self._lock:
            table = AnnotationTable.read(path, format, self._spool, lambda _: iter(rows))
            if new := [file for file in table.files if not self._is_known(file)]:
                self._index.inspect(new, threads)
            return dict(self._rejections(table))

    def _is_known(self, file: str) -> bool:
        try:
            return bool(self._index[file])
        except KeyError:
            return False

    def _rejections(self, table: AnnotationTable) -> Iterator[tuple[int, Rejection]]:
        for part in table.blocks():
            part.add_media(self._index)
            yield from table.rejections(part, outcomes(part.frame, self._rules).values()).items()


def outcomes(frame: pd.DataFrame, rules: Sequence[Rule]) -> Mapping[int, Outcome]:
    """As `suites.check`: the outcomes of the rules about facts that the frame has, by number of the rule."""
    return {
        number: _outcome(frame[rule.column].dropna(), rule)
        for number, rule in enumerate(rules)
        if rule.column in frame.columns
    }


def _outcome(values: pd.Series, rule: Rule) -> Outcome:
    broken = values[~_kept(values, rule.expectation)] if len(values) else values
    messages = {
        int(str(row)): rule.detail.format(value=value)
        for row, value in zip(broken.index, broken, strict=True)
    }
    return Outcome(rule, len(values), messages)


def _kept(values: pd.Series, expectation: Expectation) -> pd.Series:
    """Which values meet an expectation, each of the kinds that `suites` has."""
    wanted = expectation.arguments
    match expectation.name:
        case "ExpectColumnValuesToBeNull":
            return pd.Series(False, index=values.index)
        case "ExpectColumnValuesToNotBeInSet":
            return ~values.isin(wanted["value_set"])
        case "ExpectColumnValuesToMatchRegex":
            return values.astype(str).str.contains(wanted["regex"], regex=True)
        case "ExpectColumnValuesToBeBetween":
            numbers, kept = values.astype(float), pd.Series(True, index=values.index)
            least, most = wanted.get("min_value"), wanted.get("max_value")
            if least is not None:
                kept &= numbers > least if wanted.get("strict_min") else numbers >= least
            return kept if most is None else kept & (numbers <= most)
    raise NotImplementedError(f"expectation {expectation.name}")
