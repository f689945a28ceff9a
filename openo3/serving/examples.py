"""Clips to try the server with: scenes of the shapes world that no training has seen, with questions."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from openo3.shapes.clips import Clip
from openo3.shapes.media_files import write_video
from openo3.shapes.questions import SIMPLE, clear_subjects

SEED = 7
"""Of a world of its own: the default run's has another."""

CLIPS = (1, 3, 5, 2)


class Examples:
    """Drawn in `folder` when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, Lock()
        self._clips = [Clip.sample(SEED, "train", index) for index in CLIPS]

    def __len__(self) -> int:
        return len(self._clips)

    def listed(self) -> list[dict[str, Any]]:
        """Each example's question, its task (see `chat.TASKS`) and the address of its clip."""
        found = []
        for number, clip in enumerate(self._clips):
            subject = next(iter(clear_subjects(clip.scene, clip.question_rng, tuple(SIMPLE))))
            asked = (subject.when, "temporal") if number % 2 else (subject.what, "temporal-spatial")
            question, task = asked
            found.append({"question": question, "task": task, "clip": f"/examples/{number}"})
        return found

    def clip(self, number: int) -> Path:
        """The example's file."""
        path = self.folder / f"{number}.mp4"
        with self._lock:
            if not path.exists():
                self.folder.mkdir(exist_ok=True)
                write_video(path, self._clips[number].scene)
        return path
