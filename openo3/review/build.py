"""Writing the page: a folder, as the gallery's, or one file that holds everything."""

from __future__ import annotations

import base64
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from tqdm import tqdm

from openo3.files.artifacts import atomic_directory, atomic_file, write_json
from openo3.gallery.clips import FOLDER, Clip, Clips, known_again, read_known
from openo3.gallery.paged import SHARED, Pages, write_assets, write_lists, write_script
from openo3.player.clip import megabytes
from openo3.player.page import assets, script_json
from openo3.review.collection import Collection, Entry, LookError, media_of
from openo3.review.entries import Words, record_json, row_json

PAGE, MARKER, GROUP = "index.html", "look.json", "records"
OWN = ("review.js", "pictures.js", "review.css")
SCRIPTS = ("player.js", "browse.js", "pictures.js", "review.js")
STYLES = ("player.css", "browse.css", "review.css")
_OWN_FILE = re.compile(
    r"index\.html|look\.json|(?:review|pictures|browse|player)\.(?:js|css)|data/index\.js"
    r"|data/records/(?:list|page)-\d+\.js|media/[0-9a-f]+\.\w+"
)
"""The files that a page's folder has: one with others is not replaced."""

ONE_FILE_BYTES = 64 << 20
"""Of the clips that a page in one file holds; with more it takes a browser seconds to open."""

NO_MEDIA = Clip(missing="the record names no media that could be there")


@dataclass(frozen=True)
class Summary:
    """What was written; `clips` counts by how they came to be, as in the gallery."""

    page: Path
    records: int
    rejected: int
    clips: Mapping[str, int]
    size: int

    def __str__(self) -> str:
        clips = ", ".join(f"{count} {how}" for how, count in sorted(self.clips.items())) or "none"
        return (
            f"{self.page}: {self.records:,} records, {self.rejected:,} of them rejected; "
            f"clips: {clips}; {megabytes(self.size)}"
        )


def write(collection: Collection, out: Path) -> Summary:
    """Write the page: one file if `out` ends with `.html`, else a folder, which replaces an earlier one.

    Raises:
        LookError: `out` is something else, or a single file would become too large.
    """
    return _write_file(collection, out) if out.suffix == ".html" else _write_folder(collection, out)


def index_json(collection: Collection, words: Words, lists: int, edits: bool) -> dict[str, Any]:
    """What the page must know before it loads the list."""
    return {
        "title": collection.path.name or str(collection.path),
        "records": len(collection.entries),
        "lists": lists,
        "words": words.listed,
        "edits": edits,
    }


def clips_of(collection: Collection, folder: Path, before: Path, marker: Path) -> Clips:
    """A place for the clips in `folder`."""
    return Clips(collection.raw / "media", folder, before, read_known(marker), collection.trusted)


def clip_of(store: Clips, entry: Entry) -> Clip:
    """The clip of a record, put into its place."""
    media = media_of(entry.raw)
    return store.clip(media) if media else NO_MEDIA


def _write_folder(collection: Collection, out: Path) -> Summary:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MARKER).is_file())):
        raise LookError(f"-o {out}: there is something that `openo3 look` did not write; name another place")
    there = (str(path.relative_to(out)) for path in sorted(out.rglob("*")) if not path.is_dir())
    if other := next((name for name in there if not _OWN_FILE.fullmatch(name)), None):
        raise LookError(f"-o {out}: holds {other}, which `openo3 look` did not write; move it elsewhere")
    with atomic_directory(out) as folder:
        store = clips_of(collection, folder, out, out / MARKER)
        clips = _prepared(collection, store)
        (folder / "data" / GROUP).mkdir(parents=True)
        pages, words, rows = Pages(folder / "data" / GROUP, GROUP), Words(), []
        for entry in _progress(collection.entries):
            media = media_of(entry.raw)
            record = record_json(collection, entry, clips[media] if media else NO_MEDIA)
            rows.append(row_json(entry, words, pages.add(record)))
        pages.close()
        lists = write_lists(folder / "data", GROUP, rows)
        write_script(folder / "data/index.js", "index", index_json(collection, words, lists, edits=False))
        write_assets(folder, "openo3.review", OWN)
        (folder / PAGE).write_text(page(), encoding="utf-8")
        write_json(folder / MARKER, {"look": 1, "clips": known_again(clips.values())})
    return _summary(collection, out / PAGE, clips, [each for each in out.rglob("*") if each.is_file()])


def _write_file(collection: Collection, out: Path) -> Summary:
    if out.is_dir():
        raise LookError(f"-o {out}: is a folder; name a file, or a folder without the ending .html")
    _check_size(collection, out)
    with tempfile.TemporaryDirectory(prefix="openo3-look-") as name:
        folder = Path(name)
        store = clips_of(collection, folder, folder, folder / MARKER)
        clips = _prepared(collection, store)
        words, rows, records = Words(), [], []
        for entry in _progress(collection.entries):
            media = media_of(entry.raw)
            records.append(record_json(collection, entry, clips[media] if media else NO_MEDIA))
            rows.append(row_json(entry, words))
        data: dict[str, Any] = {
            "index": index_json(collection, words, 1, edits=False),
            f"{GROUP}/list-000": rows,
            f"{GROUP}/page-0000": records,
        }
        data |= {f"{FOLDER}/{each.name}": _data_url(each) for each in (folder / FOLDER).iterdir()}
    with atomic_file(out) as part:
        part.write_text(page(data=data), encoding="utf-8")
    return _summary(collection, out, clips, [out])


def _check_size(collection: Collection, out: Path) -> None:
    """Raises `LookError` before gigabytes are copied."""
    named = {media for media in (media_of(entry.raw) for entry in collection.entries) if media}
    there = [collection.raw / "media" / media for media in named]
    size = sum(file.stat().st_size for file in there if file.is_file())
    if size > ONE_FILE_BYTES:
        raise LookError(
            f"-o {out}: the clips have {megabytes(size)}, one file holds {megabytes(ONE_FILE_BYTES)}; "
            "name a folder, without the ending .html"
        )


def _data_url(file: Path) -> str:
    kind = {".mp4": "video/mp4", ".webm": "video/webm", ".jpg": "image/jpeg"}[file.suffix]
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def page(edits: bool = False, data: Mapping[str, Any] | None = None) -> str:
    """The page's HTML: with `data` it holds everything, else it loads its scripts and its data."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (files("openo3.review") / "page.html.j2").read_text(encoding="utf-8")
    scripts = [*SCRIPTS, *(("edit.js",) if edits else ())]
    inside = {} if data is None else _inside(scripts)
    values = {name: Markup(script_json(value)) for name, value in (data or {}).items()}
    return environment.from_string(template).render(
        edits=edits, scripts=scripts, styles=STYLES, inside=inside, data=values
    )


def _inside(scripts: Sequence[str]) -> dict[str, Markup]:
    """The texts of the page's scripts and styles."""
    player = dict(zip(("player.js", "player.css"), assets(), strict=True))
    found = {}
    for name in (*scripts, *STYLES):
        package = "openo3.gallery" if name in SHARED else "openo3.review"
        text = player.get(name) or (files(package) / name).read_text(encoding="utf-8")
        found[name] = Markup(text)
    return found


def _prepared(collection: Collection, store: Clips) -> dict[str, Clip]:
    """The clips of all records by media name."""
    named = dict.fromkeys(filter(None, (media_of(entry.raw) for entry in collection.entries)))
    with tqdm(store.prepare(named), total=len(named), desc="clips", unit="clip", disable=None) as bar:
        return dict(bar)


def _progress(entries: Sequence[Entry]) -> Iterable[Entry]:
    return tqdm(entries, desc="records", unit="record", disable=None)


def _summary(collection: Collection, out: Path, clips: Mapping[str, Clip], files: Sequence[Path]) -> Summary:
    return Summary(
        page=out,
        records=len(collection.entries),
        rejected=sum(entry.rejection is not None for entry in collection.entries),
        clips=Counter(clip.how or "missing" for clip in clips.values()),
        size=sum(file.stat().st_size for file in files),
    )
