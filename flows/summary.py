"""Summarise a run as Markdown for its page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from flows.run_stage import Outcome

DURATIONS = Path(".cache/durations.json")  # seconds each stage took when it last ran
PAGES = {"Report": "index.html", "Validation": "validation/index.html"}  # below reports/
MAX_METRICS = 60


def remember(root: Path, outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    """Save how long the stages took, and return the durations known before."""
    path = root / DURATIONS
    try:
        known = {str(name): float(seconds) for name, seconds in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        known = {}
    ran = {name: round(o.seconds, 1) for name, o in outcomes.items() if o.state == "Ran"}
    if ran:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known | ran, indent=1))
    return known


def markdown(repo: Repo, outcomes: Mapping[str, Outcome], known: Mapping[str, float]) -> str:
    """The stage table, the metric changes since the last commit, links to the pages."""
    root = Path(repo.root_dir)
    parts = [_headline(root, outcomes), _stages(outcomes, known), _metrics(repo), _links(root)]
    return "\n\n".join(filter(None, parts))


def sentence(outcomes: Mapping[str, Outcome]) -> str:
    """For example: 2 ran, 1 failed, 3 skipped, 4 unchanged."""
    order = ("Ran", "Restored", "Failed", "Stopped", "Skipped", "Unchanged")
    counts = {state: sum(o.state == state for o in outcomes.values()) for state in order}
    return ", ".join(f"{count} {state.lower()}" for state, count in counts.items() if count)


def _headline(root: Path, outcomes: Mapping[str, Outcome]) -> str:
    text = f"**{sentence(outcomes)}**"
    if not (commit := _git(root, "rev-parse", "--short", "HEAD")):
        return f"{text}, no commit to name"
    branch = _git(root, "branch", "--show-current") or "no branch (detached HEAD)"
    dirty = (
        ", with uncommitted changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else ""
    )
    return f"{text}, at `{commit}` on {branch}{dirty}"


def _git(root: Path, *arguments: str) -> str:
    """The output of git, empty if it fails or is not installed."""
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _stages(outcomes: Mapping[str, Outcome], known: Mapping[str, float]) -> str:
    rows = ["| stage | state | time | saved |", "|---|---|--:|--:|"]
    total = saved = 0.0
    for name, outcome in outcomes.items():
        spared = max(0.0, known.get(name, 0.0) - outcome.seconds)
        spared = spared if outcome.state in ("Unchanged", "Restored") else 0.0
        total, saved = total + outcome.seconds, saved + spared
        rows.append(f"| `{name}` | {outcome.state} | {_time(outcome.seconds)} | {_time(spared)} |")
    rows.append(f"| all | | {_time(total)} | {_time(saved)} |")
    failures = [f"```text\n{o.why}\n```" for o in outcomes.values() if o.state == "Failed"]
    return "\n\n".join(["\n".join(rows), *failures])


def _time(seconds: float) -> str:
    if not seconds:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _metrics(repo: Repo) -> str:
    """Every number that differs from the last commit's."""
    try:
        changed = repo.metrics.diff().get("diff", {})
    except DvcException as error:
        return f"Metrics cannot be compared with the last commit: {error}"
    rows = [
        f"| {os.path.splitext(file)[0]} | {name} | {_number(value.get('old'))} | {_number(value.get('new'))} "
        f"| {_number(value.get('diff'))} |"
        for file, values in sorted(changed.items())
        for name, value in sorted(values.items())
    ]
    if not rows:
        return "No metric differs from the last commit's."
    table = [
        "| metrics since the last commit | | old | new | change |",
        "|---|---|--:|--:|--:|",
        *rows[:MAX_METRICS],
    ]
    more = len(rows) - MAX_METRICS
    return "\n".join(table) + (f"\n\n… and {more} more: `dvc metrics diff`" if more > 0 else "")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _links(root: Path) -> str:
    """To the pages as `make ui` serves them: a browser follows no link from a server's page into the disk."""
    base = os.environ.get("OPENO3_PAGES_URL")
    there = {title: page for title, page in PAGES.items() if (root / "reports" / page).exists()}
    shown = [
        f"[{title}]({base}/{page})" if base else f"{title}: `reports/{page}`" for title, page in there.items()
    ]
    return " · ".join(shown)
