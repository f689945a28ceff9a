"""What one process of a stage did and when, as it was written down by `probe`.

    {"rank": 0, "world": 8, "ended": "stopped", "events": [{"name": "step", "start_s": 12.1, "end_s": 13.4,
     "facts": {"tokens": 13900, "patches": 25600}}, ...], "log": [{"step": 1, "loss": 2.1, ...}, ...], ...}

Times are seconds of one clock since the process began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openo3.files.artifacts import read_json, write_json


@dataclass(frozen=True)
class Event:
    """Something that lasted from `start_s` to `end_s`. `facts` count what was done in it."""

    name: str
    start_s: float
    end_s: float
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


@dataclass
class Trace:
    """`ended`: "finished", "stopped" (after its checkpoint, as a killed run would be), or the error. `log` is
    what the trainer logged. `device`: name and peak memory of its GPU in bytes, None on a CPU."""

    rank: int = 0
    world: int = 1
    ended: str = ""
    events: list[Event] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    device: dict[str, Any] | None = None

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]

    def write(self, folder: Path) -> None:
        write_json(folder / f"{self.rank}.json", asdict(self))


def read_traces(folder: Path) -> Sequence[Trace]:
    """The traces of all processes in order of rank."""
    traces = []
    for path in folder.glob("*.json"):
        found = read_json(path)
        traces.append(Trace(**{**found, "events": [Event(**event) for event in found["events"]]}))
    return sorted(traces, key=lambda trace: trace.rank)
