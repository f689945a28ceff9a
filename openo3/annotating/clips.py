"""The clips of a folder, and the questions that a user asks about them.

A file of questions has one a line, optionally after the short name of its task:

    What does the man pick up?
    temporal: When does he open the door?

or, for questions about single clips, one JSON object a line (`.jsonl`):

    {"question": "What does she open?", "task": "temporal-spatial", "clip": "kitchen/0012.mp4"}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from openo3.annotating.params import TASKS
from openo3.annotations.rejections import RowError
from openo3.annotations.rows import mapping, shown, text
from openo3.core.schema import Task
from openo3.files.safe_path import Root, UnsafePath, relative
from openo3.media.isolated import Processes
from openo3.media.probe import Media, MediaError, probe, probing_limit_s
from openo3.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

MAX_QUESTIONS = 100_000
_TIME_LIMIT_S = 60.0


class AnnotateError(ValueError):
    """Why a folder cannot be annotated: one line that says what to do."""


@dataclass(frozen=True)
class Clip:
    """A file: `name` is its path below the folder, `digest` the SHA-256 of its content."""

    name: str
    path: Path
    digest: str
    media: Media

    @property
    def kind(self) -> Literal["video", "image"]:
        return self.media.kind


@dataclass(frozen=True)
class Question:
    """What a user asks; about every clip that its task fits, or about the one named `clip`.

    `task` is None where the first task asked of such a clip is meant.
    """

    question: str
    task: Task | None = None
    clip: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """A file that cannot be annotated, and why."""

    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Found:
    """The clips of a folder in the order of their names, each content once, and the files left out."""

    clips: Sequence[Clip]
    left_out: Sequence[LeftOut]


def find(folder: Path, without: Sequence[Path] = ()) -> Found:
    """Every video and image below a folder, except in the folders `without` and in hidden ones.

    Raises `AnnotateError` if there is none.
    """
    if not folder.is_dir():
        raise AnnotateError(f"{folder}: no such folder")
    names = sorted(_names(folder, {path.resolve() for path in without}))
    if not names:
        raise AnnotateError(f"{folder}: contains no video and no image")
    processes, root = Processes(), Root(folder)
    clips: dict[str, Clip] = {}
    left_out: list[LeftOut] = []
    try:
        with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
            looked = pool.map(lambda name: _look(root, name, processes), names)
            for found in tqdm(looked, "clips", len(names), unit="file", disable=None):
                if isinstance(found, LeftOut):
                    left_out.append(found)
                elif found.digest in clips:
                    same = clips[found.digest].name
                    left_out.append(LeftOut(found.name, "the same content as another file", same))
                else:
                    clips[found.digest] = found
    finally:
        processes.stop()
    return Found(list(clips.values()), left_out)


def _names(folder: Path, without: set[Path]) -> Iterator[str]:
    for where, folders, files in os.walk(folder):
        folders[:] = [
            name for name in folders
            if not name.startswith(".") and (Path(where) / name).resolve() not in without
        ]  # fmt: skip
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES):
                yield str((Path(where) / name).relative_to(folder))


def _look(root: Root, name: str, processes: Processes) -> Clip | LeftOut:
    path = root.folder / name
    try:
        if relative(name) != name or root.find(name) is None:
            return LeftOut(shown(name), "path unsafe", "not a plain path below the folder")
        limit_s = probing_limit_s(path, _TIME_LIMIT_S)
        media = processes.call(_probe, (str(path), _TIME_LIMIT_S), limit_s)
        if isinstance(media, MediaError):
            return LeftOut(name, f"media {media.reason}", media.detail)
        with path.open("rb") as file:
            return Clip(name, path, hashlib.file_digest(file, "sha256").hexdigest(), media)
    except UnsafePath as error:
        return LeftOut(shown(name), "path unsafe", str(error))
    except OSError as error:
        return LeftOut(name, "media unreadable", str(error.strerror))


def _probe(job: tuple[str, float]) -> Media:
    return probe(*job)


def read_questions(path: Path) -> list[Question]:
    """The questions of a file. Raises `AnnotateError` that names the line."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise AnnotateError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise AnnotateError(f"{path}: not UTF-8 text at byte {error.start}") from None
    read = _of_json if path.suffix.lower() == ".jsonl" else _of_line
    found = [
        read(f"{path}: line {number}", line) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    if not found:
        raise AnnotateError(f"{path}: holds no question")
    if len(found) > MAX_QUESTIONS:
        raise AnnotateError(f"{path}: {len(found):,} questions, at most {MAX_QUESTIONS:,}")
    return found


def _of_line(where: str, line: str) -> Question:
    head, colon, rest = line.partition(":")
    if colon and head.strip() in TASKS:
        return _question(where, rest, TASKS[head.strip()])
    return _question(where, line)


def _of_json(where: str, line: str) -> Question:
    try:
        row = mapping(json.loads(line), "line")
        name = row.get("task")
        if name is not None and not (isinstance(name, str) and (name in TASKS or name in [*Task])):
            raise AnnotateError(f"{where}: task: {shown(name)} is none of {', '.join(TASKS)}")
        task = None if name is None else TASKS.get(name) or Task(name)
        clip = None if row.get("clip") is None else relative(text(row, "clip"))
        return _question(where, text(row, "question"), task, clip)
    except UnsafePath as error:
        raise AnnotateError(f"{where}: clip: {error}") from None
    except RowError as error:
        raise AnnotateError(f"{where}: {error}") from None
    except RecursionError:
        raise AnnotateError(f"{where}: not JSON") from None
    except json.JSONDecodeError as error:
        raise AnnotateError(f"{where}: not JSON: {error}") from None


def _question(where: str, said: str, task: Task | None = None, clip: str | None = None) -> Question:
    if not said.strip():
        raise AnnotateError(f"{where}: the question is empty")
    if task is Task.WHERE:
        raise AnnotateError(f"{where}: task: expected one of {', '.join(TASKS)}")
    return Question(said.strip(), task, clip)
