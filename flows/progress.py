"""Read a stage's progress from its output: tqdm bars, and the numbers that trainers print as a dict.

sft: 45%|####5     | 135/300 [02:10<02:40,  1.03it/s]
{'loss': '0.412', 'reward': '3.91', 'epoch': '0.45'}
"""

from __future__ import annotations

import ast
import re
import time

BAR = re.compile(
    r"(?P<what>[^\r\n|]*?)\s*(?P<percent>\d{1,3})%\|[^|]*\|\s*(?P<count>[^\s/]+/[^\s\[]+)\s*\[(?P<times>[^\]]*)\]"
)
NUMBERS = re.compile(r"\{'[\w/ ]+': .*\}")
MAX_NUMBERS = 6


class Progress:
    """The latest progress. `due` says whether it has changed and should be shown again."""

    def __init__(self, every_s: float = 2.0) -> None:
        self.percent: float | None = None
        self.bar, self.numbers = "", ""
        self._every_s, self._shown_at, self._changed = every_s, -every_s, False

    def read(self, line: str) -> bool:
        """Read one line; return whether it contained progress."""
        bar, numbers = BAR.search(line), NUMBERS.search(line)
        if bar:
            self.percent = min(100.0, float(bar["percent"]))
            what = bar["what"].strip().rstrip(":")
            self.bar = f"{what + ': ' if what else ''}{bar['count']} [{bar['times']}]"
        if numbers:
            self.numbers = _numbers(numbers[0]) or self.numbers
        self._changed = self._changed or bool(bar or numbers)
        return bool(bar or numbers)

    def due(self) -> bool:
        """Whether there is new progress to show, at most every few seconds."""
        if self.percent is None or not self._changed or time.monotonic() - self._shown_at < self._every_s:
            return False
        self._shown_at, self._changed = time.monotonic(), False
        return True

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.bar, self.numbers)))


def _numbers(text: str) -> str:
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""
    found = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        try:
            found[name] = f"{float(value):.4g}"
        except (TypeError, ValueError):
            continue
    first = ("reward", "loss", "epoch")  # then in the order they were printed
    order = sorted(found, key=lambda name: first.index(name) if name in first else len(first))
    return ", ".join(f"{name} {found[name]}" for name in order[:MAX_NUMBERS])
