"""`openo3 ask`: one question about one clip, answered with evidence.

    openo3 ask clip.mp4 "What enters after the red circle?" --html answer.html

Reasoning and answer go to standard output, what was asked of which model to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from openo3.cli.errors import InputError, refuse
from openo3.core.schema import STGR_TASKS, Task

if TYPE_CHECKING:
    from openo3.inference.answer import Answer
    from openo3.inference.model import Model

TASKS = {task.name.lower().replace("_", "-"): task for task in STGR_TASKS}
FILES = {"html": (".html", ".htm"), "gif": (".gif",), "mp4": (".mp4",)}
"""Options that name a file to write, and the endings that it may have."""

MAX_CLIP_BYTES = 2 << 30
"""Of standard input and of a file behind an address."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="a video or image: a file, an https address, or -")
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--model", metavar="FOLDER", help="by default the last checkpoint of this checkout")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that plays the evidence")
    parser.add_argument("--small", action="store_true", help="put a small copy of the clip into the page")
    parser.add_argument("--gif", type=Path, metavar="FILE", help="write a movie of the answer")
    parser.add_argument("--mp4", type=Path, metavar="FILE", help="write the same movie as MP4")
    parser.add_argument("--task", choices=TASKS, help="default: free-form for videos, visual for images")
    parser.add_argument("--plain", action="store_true", help="ask without the evidence grammar's instruction")
    parser.add_argument("--votes", type=int, default=1, metavar="N", help="the majority of N answers")
    parser.add_argument(
        "--confident", action="store_true", help="weight the votes by the relevance of their evidence"
    )
    parser.add_argument("--temperature", type=float, metavar="T", help="default: 0, or 0.7 with votes")
    parser.add_argument("--seed", type=int, default=0, help="of sampling")


def run(arguments: argparse.Namespace) -> int:
    """Print the answer, and write the files that are asked for."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Threads that spin while they wait make an answer many times slower where other programs use the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        files = _files(arguments)
        with _clip(arguments.clip) as clip:
            _answer(clip, arguments, files)
    except BrokenPipeError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        return refuse(InputError(" ".join(str(error).split())))
    return 0


def _files(arguments: argparse.Namespace) -> list[Path]:
    """The files to write, checked before the model is loaded."""
    files = []
    for option, endings in FILES.items():
        path: Path | None = getattr(arguments, option)
        if path is None:
            continue
        if path.suffix.lower() not in endings:
            raise InputError(f"--{option} {path}: the name must end in {endings[0]}")
        if not path.parent.is_dir():
            raise InputError(f"--{option} {path}: no folder {path.parent}")
        files.append(path)
    return files


def _answer(clip: Path, arguments: argparse.Namespace, files: list[Path]) -> None:
    from transformers.utils.logging import disable_progress_bar

    from openo3.inference.model import load
    from openo3.media.probe import MediaError
    from openo3.player.clip import TooLarge

    disable_progress_bar()
    model = load(arguments.model)
    try:
        answer = _asked(model, clip, arguments)
        if arguments.json:
            print(json.dumps(answer.to_json(), ensure_ascii=False, allow_nan=False), flush=True)
        for file in files:
            answer.save(file, small=arguments.small)
            print(f"openo3: wrote {file} ({file.stat().st_size / 1e6:.1f} MB)", file=sys.stderr)
    except TooLarge as error:
        raise InputError(f"{error}; --small puts a smaller copy into the page") from None
    except MediaError as error:
        raise InputError(f"{arguments.clip}: {error}") from None


def _asked(model: Model, clip: Path, arguments: argparse.Namespace) -> Answer:
    from openo3.inference.model import sampling_of
    from openo3.inference.transcript import Transcript, readable

    task: Task | None = TASKS.get(arguments.task)
    sampling = sampling_of(arguments.votes, arguments.temperature, seed=arguments.seed)
    asked = model.asked(clip, arguments.question, task=task, plain=arguments.plain)
    size = asked.media.size
    transcript = Transcript(asked.space, size)
    streams = not arguments.json and arguments.votes == 1

    def watch(text: str) -> None:
        print(transcript.grow(text), end="", flush=True)

    if not arguments.json:
        print(f"openo3: asking {model.name}", file=sys.stderr, flush=True)
    answer = model.answer(asked, sampling, confident=arguments.confident, watch=watch if streams else None)
    if not arguments.json:
        print("\n\n" if transcript.shown else "", end="")
        print(answer.readable(reasoning=not transcript.shown))
        for vote in answer.votes:
            said = readable(vote.answer, answer.completion.space, size)
            weighted = f", {vote.share:.0%} of the weight" if arguments.confident else ""
            print(f"  {vote.count} of {arguments.votes}{weighted}: {said}")
    return answer


@contextmanager
def _clip(name: str) -> Iterator[Path]:
    """The clip as a file: standard input and what lies behind an address as a temporary one."""
    remote = "://" in name
    if name != "-" and not remote:
        yield Path(name)
        return
    with tempfile.TemporaryDirectory(prefix="openo3-") as folder:
        path = Path(folder) / "clip"
        if remote:
            from openo3.fetch.one_file import download

            download(name, path, MAX_CLIP_BYTES)
        else:
            _save_standard_input(path)
        yield path


def _save_standard_input(path: Path) -> None:
    with path.open("wb") as file:
        left = MAX_CLIP_BYTES
        while piece := sys.stdin.buffer.read(min(left + 1, 1 << 20)):
            left -= len(piece)
            if left < 0:
                raise InputError(f"standard input: more than {MAX_CLIP_BYTES >> 30} GiB")
            file.write(piece)
