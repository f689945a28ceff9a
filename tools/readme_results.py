"""Put the numbers of the last run into the tables of README.md and docs/results.md, from reports/results.md.

    python -m tools.readme_results

Only the first table after each `results:begin` changes. The sentences around it are for a person to check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHORT = {
    "What": "what",
    "When (chain 1)": "when, chain 1",
    "Where (chain 1)": "where, chain 1",
    "mAM": "**mAM**",
}
FULL = {
    "What": "what",
    "When (chain 1)": "when, chain 1",
    "When (chain 2)": "when, chain 2",
    "Where (chain 1)": "where, chain 1",
    "Where (chain 2)": "where, chain 2",
    "mAM": "**mAM**",
    "mLGM": "mLGM",
    "When": "TVGBench tIoU",
}
MODELS, GAINS = ("Base", "SFT", "GSPO"), ("SFT \N{MINUS SIGN} Base", "GSPO \N{MINUS SIGN} SFT")
TABLE = re.compile(r"(results:begin.*?\n\|[^\n]*\n\|[-|]+\n)((?:\|[^\n]*\n)+)", re.DOTALL)


def main() -> None:
    rows = read_rows((ROOT / "reports/results.md").read_text(encoding="utf-8"))
    for name, names in (("README.md", SHORT), ("docs/results.md", FULL)):
        page = ROOT / name
        table = "".join(shown(label, rows[row]) for row, label in names.items())
        before = page.read_text(encoding="utf-8")
        text, found = TABLE.subn(lambda match, table=table: match[1] + table, before)
        if found != 1:
            raise SystemExit(f"{name}: expected one table after results:begin, found {found}")
        page.write_text(text, encoding="utf-8")
        print(name)


def read_rows(results: str) -> dict[str, dict[str, str]]:
    """The main table of each benchmark (the first below its heading): cells by row, then by column."""
    rows: dict[str, dict[str, str]] = {}
    for section in results.split("\n## ")[1:]:
        if section.startswith("Test-time scaling"):
            continue
        table = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)[0].splitlines()
        head, _, *body = (cells(line) for line in table)
        columns = [name.partition(" (")[0] for name in head[1:]]
        rows |= {row: dict(zip(columns, values, strict=True)) for row, *values in body}
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def shown(label: str, row: dict[str, str]) -> str:
    """A line of the table: values without intervals; differences with them, bold if they exclude zero."""
    values = [row[model].partition(" [")[0] for model in MODELS]
    gains = [re.sub(r"^[▲▼] (.*)$", r"**\1**", row[gain]) for gain in GAINS]
    return line([label, *values, *gains])


def line(parts: Iterable[str]) -> str:
    return f"| {' | '.join(parts)} |\n"


if __name__ == "__main__":
    main()
