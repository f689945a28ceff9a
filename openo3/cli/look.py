"""`openo3 look`: every training record on its clip, with a picture of what is wrong with rejected ones.

openo3 look local --open                   a folder of one's own, as a page
openo3 look data/validated -o look.html    what `validate` accepted and rejected, as one file
openo3 look records.json --serve           correct, accept and reject; written to records.reviewed.json
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from openo3.cli.errors import InputError, refuse
from openo3.cli.listening import add_address, address_of, key_of, listen, serve

OUT = Path("reports/look")
RECORDS = (Path("data/validated"), Path("local"))
PORT = 8010


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "records",
        nargs="?",
        type=Path,
        metavar="RECORDS",
        help="a folder with annotations and media, data/validated, or an STGR file; "
        f"default: {RECORDS[0]}, else {RECORDS[1]}",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="OUT",
        help=f"the page, a folder or FILE.html; default: {OUT}. With --serve where decisions are written; "
        "default: beside the records, NAME-reviewed or NAME.reviewed.json",
    )
    parser.add_argument("--media", type=Path, metavar="FOLDER", help="where videos/, kfs/ and images/ are")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_argument(
        "--time-tolerance",
        type=float,
        default=0.5,
        metavar="S",
        help="how far a time may lie after the end of its media, as validate.time_tolerance_s; default: 0.5",
    )
    editing = parser.add_argument_group("editing")
    editing.add_argument("--serve", action="store_true", help="correct, accept and reject in the browser")
    editing.add_argument("--only-accepted", action="store_true", help="leave undecided records out as well")
    add_address(editing, PORT)


def run(arguments: argparse.Namespace) -> int:
    """Write the page, or serve until interrupted."""
    try:
        return _serve(arguments) if arguments.serve else _write(arguments)
    except (OSError, RuntimeError, ValueError) as error:
        return refuse(InputError(" ".join(str(error).split())))


def _write(arguments: argparse.Namespace) -> int:
    from openo3.player.viewing import open_in_browser
    from openo3.review.build import write
    from openo3.review.collection import opened

    if arguments.only_accepted:
        raise InputError("--only-accepted is about decisions; add --serve")
    with opened(_records(arguments), arguments.media, arguments.time_tolerance) as collection:
        summary = write(collection, arguments.out or OUT)
    print(summary)
    if arguments.open:
        open_in_browser(summary.page)
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from openo3.player.viewing import open_in_browser
    from openo3.review.app import create_app
    from openo3.review.collection import opened
    from openo3.review.decisions import Review

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary files are removed
    key, path = key_of(arguments), _records(arguments)
    out = arguments.out or _beside(path)
    with (
        listen(arguments) as listening,
        opened(path, arguments.media, arguments.time_tolerance) as collection,
        Review.opened(collection, out, arguments.only_accepted) as review,
        tempfile.TemporaryDirectory(prefix="openo3-look-clips-") as clips,
    ):
        if review.set_aside:
            print(
                f"openo3: {review.journal}: {review.set_aside} decisions are about records that changed"
                " since; they are kept there, but not applied",
                file=sys.stderr,
            )
        counts = review.counts()
        print(
            f"openo3: {path}: {len(collection.entries):,} records, {counts['accepted']:,} accepted and "
            f"{counts['rejected']:,} rejected so far; decisions go to {out}",
            file=sys.stderr,
        )
        address = address_of(listening)
        print(f"openo3: look and edit at {address}", file=sys.stderr, flush=True)
        app = create_app(review, Path(clips), key)
        if arguments.open:
            open_in_browser(address)
        with suppress(KeyboardInterrupt):
            serve(app, listening)
        counts = review.counts()
        print(
            f"openo3: {out}: {counts['kept']:,} usable records; {counts['accepted']:,} accepted, "
            f"{counts['rejected']:,} rejected, {counts['undecided']:,} undecided",
            file=sys.stderr,
        )
    return 0


def _records(arguments: argparse.Namespace) -> Path:
    if arguments.records is not None:
        return arguments.records
    found = next((path for path in RECORDS if path.exists()), None)
    if found is None:
        raise InputError(f"there is no {RECORDS[0]} here; name a folder with annotations, or an STGR file")
    return found


def _beside(path: Path) -> Path:
    """Where decisions about these records go."""
    path = path.resolve()
    return path.with_name(f"{path.stem}.reviewed.json" if path.is_file() else f"{path.name}-reviewed")
