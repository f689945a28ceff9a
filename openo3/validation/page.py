"""The validation as one self-contained, deterministic HTML page of bounded size.

Annotations are untrusted: every text goes through the template's escaping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from openo3.annotations.rejections import Reason, Rejection
from openo3.benchmarks.registry import ANNOTATION_FILES
from openo3.validation import coverage, layout
from openo3.validation.suites import Expectation, Outcome

FILENAMES = {file.name: file.filename for file in ANNOTATION_FILES}


ABOUT_FILES = (
    Reason.MEDIA_MISSING,
    Reason.MEDIA_UNREADABLE,
    Reason.KEY_IMAGE_MISSING,
    Reason.KEY_IMAGE_UNREADABLE,
)
"""Reasons whose detail names a file and its problem."""


@dataclass(frozen=True)
class Pictures:
    """Figures (`openo3.validation.pictures`): of accepted records, of rejected rows, and of bad files by the
    detail of their rejection."""

    accepted: Sequence[Markup] = ()
    rejected: Sequence[Markup] = ()
    files: Mapping[str, Markup] = field(default_factory=dict)


NO_PICTURES = Pictures()


def html(
    metrics: Mapping[str, Any],
    outcomes: Mapping[str, Sequence[Outcome]],
    rejected: Iterable[Rejection],
    measured: Mapping[str, Mapping[str, tuple[float, float, float]]],
    max_share: float,
    max_missing: float | None,
    listed: int,
    pictures: Pictures = NO_PICTURES,
) -> str:
    """The page about the numbers of `coverage.metrics`, and every file's rules.

    It lists at most `listed` of the rejected rows, some of every reason, and as many bad media files. A file
    of which too much is rejected (`coverage.too_many`) is marked. `measured` describes the accepted rows
    (`Validation.measured`).
    """
    rejected = list(rejected)
    bad_files = Counter(each.detail for each in rejected if each.reason in ABOUT_FILES)
    shown = spread(rejected, listed)
    script = (files("openo3.validation") / "page.js").read_text(encoding="utf-8")
    return layout.render(
        "page.html.j2",
        script=Markup(script),
        metrics=metrics,
        allowed=coverage.allowed(max_share, max_missing),
        files=[(name, FILENAMES[name], counts) for name, counts in metrics["files"].items()],
        failed=[FILENAMES[name] for name in coverage.too_many(metrics, max_share, max_missing)],
        clipped=metrics.get("clipped", {}),
        reasons=list(metrics["reasons"].items()),
        covered=[(FILENAMES[name], list(_lines(found))) for name, found in metrics["sources"].items()],
        rules=[(FILENAMES[name], *_broken_and_kept(found)) for name, found in outcomes.items()],
        words=words,
        bad_files=bad_files.most_common(listed),
        pictures=pictures,
        bad_files_count=len(bad_files),
        measured=[(FILENAMES[name], found) for name, found in measured.items() if found],
        shown=shown,
        shown_reasons=sorted({each.reason for each in shown}),
        shown_files=sorted({each.file for each in shown}),
    )


def spread(rejected: Iterable[Rejection], count: int) -> list[Rejection]:
    """At most `count` rejections in their order, taken in turn from each file and reason."""
    seen: Counter[tuple[str, str]] = Counter()
    turns = []
    for position, each in enumerate(rejected):
        turns.append((seen[each.file, each.reason], position, each))
        seen[each.file, each.reason] += 1
    turns.sort(key=lambda turn: turn[:2])
    return [each for _, _, each in sorted(turns[:count], key=lambda turn: turn[1])]


def words(expectation: Expectation) -> str:
    """An expectation in short form.

    >>> words(Expectation("ExpectColumnValuesToBeBetween", {"min_value": 0, "strict_min": True}))
    '> 0'
    """
    arguments = expectation.arguments
    match expectation.name:
        case "ExpectColumnValuesToBeNull":
            return "none"
        case "ExpectColumnValuesToNotBeInSet":
            return "not " + ", ".join(f"“{value}”" for value in arguments["value_set"])
        case "ExpectColumnValuesToMatchRegex":
            return f"matches {arguments['regex']}"
        case "ExpectColumnValuesToBeBetween":
            low, high = arguments.get("min_value"), arguments.get("max_value")
            sign = ">" if arguments.get("strict_min") else "≥"
            least = "" if low is None else f"{sign} {layout.short(low)}"
            return " and ".join(filter(None, [least, "" if high is None else f"≤ {layout.short(high)}"]))
    return f"{expectation.name} {arguments}"


def _lines(sources: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, str, Mapping[str, int]]]:
    for source, tasks in sources.items():
        for task, counts in tasks.items():
            yield source, task, counts


def _broken_and_kept(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """The broken rules, the most broken first, and the others in the order in which they are checked."""
    broken = [outcome for outcome in outcomes if outcome.broken]
    return sorted(broken, key=lambda outcome: -len(outcome.broken)), [o for o in outcomes if not o.broken]
