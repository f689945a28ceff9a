"""`openo3 convert`: annotations of other tools as STGR records, and records for other tools.

    openo3 convert tracks.xml --from cvat --media local --task temporal -o local/STGR-RL.json
    openo3 convert local/STGR-RL.json --from stgr --to label-studio -o tasks.json

Every line of standard output says what was written, left out or changed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from openo3.cli.errors import InputError, plain, refuse
from openo3.core.schema import STGR_TASKS, Task

if TYPE_CHECKING:
    from openo3.conversion import Clip
    from openo3.conversion.records import Wanted

NAMES = ("coco-video", "cvat", "label-studio", "via", "stgr")
TASKS = {task.name.lower().replace("_", "-"): task for task in STGR_TASKS if task is not Task.VISUAL}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("annotations", type=Path, metavar="IN", help="the file to read")
    parser.add_argument("--from", dest="source", choices=NAMES, required=True, help="its format")
    parser.add_argument("--to", choices=("stgr", "label-studio", "coco-video", "cvat"), default="stgr")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="the file to write")
    parser.add_argument(
        "--media", type=Path, metavar="FOLDER", help="of the videos and images (default: of IN)"
    )
    parser.add_argument("--fps", type=float, help="constant rate of videos that are not there")
    made = parser.add_argument_group("records of tracks that come without questions")
    made.add_argument(
        "--task", choices=TASKS, default="temporal-spatial", help="of videos; images are visual QA"
    )
    made.add_argument("--question", metavar="TEMPLATE", help='such as "Where is the {object}?"')
    made.add_argument("--answer", metavar="TEMPLATE", help="may name {object}, {place}, {first} and {last}")
    made.add_argument("--every", type=float, metavar="S", help="also a key frame every S seconds")
    made.add_argument("--most", type=int, default=8, metavar="N", help="key frames of a record (default: 8)")
    made.add_argument("--reasoning", action="store_true", help="write one that cites the boxes, for SFT")
    made.add_argument(
        "--source", dest="label", default="local", help="source of the records (default: local)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the file and say what it holds."""
    from openo3.conversion import FORMATS, ConversionError, MediaFolder

    notes: Counter[str] = Counter()
    try:
        wanted = _checked(arguments)
        with MediaFolder(arguments.media or arguments.annotations.parent, arguments.fps) as media:
            clips = FORMATS[arguments.source].read(arguments.annotations, media, notes)
        if not clips:
            raise InputError(f"{arguments.annotations}: nothing is annotated")
        if arguments.to == "stgr":
            _write_records(arguments.out, clips, wanted, notes)
        else:
            write = FORMATS[arguments.to].write
            assert write is not None  # of the formats that `--to` takes
            for file in write(arguments.out, clips, notes):
                print(f"wrote {file} ({file.stat().st_size:,} bytes)")
    except (ConversionError, InputError) as error:
        return refuse(error)
    except OSError as error:
        return refuse(InputError(f"{error.filename or arguments.out}: {error.strerror}"))
    for note, count in notes.items():
        if count:
            print(f"note: {count:,} {plain(note)}")
    return 0


def _checked(arguments: argparse.Namespace) -> Wanted:
    """What is asked for. Raises `InputError` or `ConversionError` before anything is read."""
    from openo3.conversion.records import Wanted

    if arguments.out.exists():
        raise InputError(f"-o {arguments.out}: exists; name another file")
    if not arguments.out.absolute().parent.is_dir():
        raise InputError(f"-o {arguments.out}: no folder {arguments.out.parent}")
    media = arguments.media
    if media is not None and not media.is_dir():
        raise InputError(f"--media {media}: no such folder")
    for option in ("fps", "every"):
        value = getattr(arguments, option)
        if value is not None and not 1e-3 <= value <= 1e4:
            raise InputError(f"--{option} {value:g}: expected 0.001 to 10,000")
    if arguments.most < 1:
        raise InputError(f"--most {arguments.most}: expected 1 or more")
    return Wanted(
        TASKS[arguments.task],
        arguments.question,
        arguments.answer,
        arguments.every,
        arguments.most,
        arguments.reasoning,
        arguments.label,
    )


def _write_records(out: Path, clips: list[Clip], wanted: Wanted, notes: Counter[str]) -> None:
    from openo3.conversion.records import rows
    from openo3.files.artifacts import write_json

    found = rows(clips, wanted, notes)
    if not found:
        told = "".join(f"; {count:,} {note}" for note, count in notes.items() if count)
        raise InputError(f"{out}: there would be no record in it{told}")
    try:
        write_json(out, found)
    except TypeError as error:
        raise InputError(f"{out}: a record holds what JSON cannot: {error}") from None
    tasks = Counter(row["task"] for row in found)
    listed = ", ".join(f"{count:,} {task}" for task, count in tasks.items())
    print(f"wrote {out}: {len(found):,} records of {len({clip.path for clip in clips}):,} files ({listed})")
    notes[
        "records without a question or an answer, which `validate` rejects: give --question and --answer, or "
        "write them in Label Studio"
    ] += sum(not row["question"] or not row["answer"] for row in found)
    notes["records without reasoning: for STGR-RL.json; STGR-SFT.json needs one (--reasoning)"] += sum(
        "reasoning_process" not in row for row in found
    )
