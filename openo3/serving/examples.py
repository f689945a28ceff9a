"""Clips to try the server with: scenes of the shapes world that no training has seen, with questions."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from openo3.shapes.benchmarks import vstar_records
from openo3.shapes.clips import Clip
from openo3.shapes.media_files import write_video

SEED = 7
"""Of a world of its own: the default run's has another."""

CLIPS = (1, 3, 5, 2)
QUESTIONS = ("question", "temporal_question", "question", "spatial_question")


class Examples:
    """Drawn in `folder` when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, Lock()
        self._clips = [Clip.sample(SEED, "vstar", index) for index in CLIPS]

    def __len__(self) -> int:
        return len(self._clips)

    def listed(self) -> list[dict[str, Any]]:
        """Each example's question, and the address of its clip."""
        return [
            {"question": _shortest(clip, kind), "clip": f"/examples/{number}"}
            for number, (clip, kind) in enumerate(zip(self._clips, QUESTIONS, strict=True))
        ]

    def clip(self, number: int) -> Path:
        """The example's file."""
        path = self.folder / f"{number}.mp4"
        with self._lock:
            if not path.exists():
                self.folder.mkdir(exist_ok=True)
                write_video(path, self._clips[number].scene)
        return path


def _shortest(clip: Clip, kind: str) -> str:
    """Of a few questions about a clip, the one that is read fastest."""
    return min((record[kind] for record in vstar_records(clip, 6)), key=len)
