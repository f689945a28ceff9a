"""The page with editing, behind a local server.

    app = create_app(review, folder, api_key=None)

Every decision is written before it is confirmed. It names the version of the record that it is about: one
about an older version gets status 409 with what has changed since. Who may ask is for
`openo3.serving.security`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response

from openo3.annotations import rows
from openo3.annotations.rejections import RowError
from openo3.gallery.clips import FOLDER, Clip, Clips
from openo3.gallery.paged import LIST_RECORDS, SHARED
from openo3.review.build import NO_MEDIA, OWN, index_json, page
from openo3.review.collection import Entry, media_of
from openo3.review.decisions import DECISIONS, Decision, Review, Stale, State, Unusable
from openo3.review.edits import Draft, change, marks
from openo3.review.entries import Words, row_json, shown_json
from openo3.serving.bodies import read_body
from openo3.serving.errors import ApiError, invalid, refuse
from openo3.serving.security import Guard

BODY_BYTES, BODY_S = 2_000_000, 60.0

ASSETS: Mapping[str, tuple[str, str]] = {
    **{f"/{name}": ("openo3.review", name) for name in (*OWN, "edit.js")},
    **{f"/{name}": ("openo3.gallery", name) for name in SHARED},
    **{f"/{name}": ("openo3.player", name) for name in ("player.js", "player.css")},
}
_KINDS = {"js": "text/javascript", "css": "text/css"}
_CLIP = re.compile(r"[0-9a-f]{24}\.(?:mp4|webm|jpg)")


class Served:
    """What the routes share: the review, its rows, and the clips that were asked for."""

    def __init__(self, review: Review, folder: Path) -> None:
        self.review = review
        self.collection = review.collection
        self.folder = folder
        self._store = Clips(self.collection.raw / "media", folder, folder, {}, self.collection.trusted)
        self._clips: dict[str, Clip] = {}
        self._locks: dict[str, Lock] = {}
        self._lock = Lock()
        words = Words()
        self.rows = [row_json(entry, words) for entry in self.collection.entries]
        lists = -(-len(self.rows) // LIST_RECORDS)
        self.index = index_json(self.collection, words, lists, edits=True)

    def entry(self, number: int) -> Entry:
        """Raises `ApiError` for a number that no record has."""
        if not 0 <= number < len(self.collection.entries):
            raise ApiError(404, f"record {number}: there are {len(self.collection.entries)}")
        return self.collection.entries[number]

    def clip(self, entry: Entry) -> Clip:
        """The clip of a record, made ready for browsers when it is first asked for."""
        media = media_of(entry.raw)
        if media is None:
            return NO_MEDIA
        with self._lock:
            own = self._locks.setdefault(media, Lock())
        with own:
            if media not in self._clips:
                self._clips[media] = self._store.clip(media)
            return self._clips[media]

    def shown(self, entry: Entry, draft: Draft) -> dict[str, Any]:
        """A record with a draft's corrections: as the page shows it, and what can be moved in it."""
        clip = self.clip(entry)
        raw, rejection = entry.raw, self.review.rejection(entry, draft)
        record = shown_json(self.collection, entry, raw, draft, rejection, clip)
        return {
            "record": record,
            "draft": draft.to_json(),
            "marks": [mark.to_json() for mark in marks(draft)],
        }

    def state(self, number: int) -> dict[str, Any]:
        return {"number": number, **self.review.state(number).to_json()}


def create_app(review: Review, folder: Path, api_key: str | None = None) -> FastAPI:
    """The application. `folder` is an empty one for clips, which the caller removes in the end."""
    app = FastAPI(title="openo3 look", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.served = Served(review, folder)
    app.include_router(ROUTES)
    for kind in (ApiError, HTTPException, RequestValidationError, ClientDisconnect):
        app.add_exception_handler(kind, refuse)
    app.add_middleware(Guard, api_key=api_key, open_paths=frozenset(("/", *ASSETS)))
    return app


ROUTES = APIRouter()


@ROUTES.get("/")
def main_page() -> Response:
    return Response(page(edits=True), media_type="text/html")


@ROUTES.get("/data/index")
def index(request: Request) -> Response:
    return _json(_served(request).index)


@ROUTES.get("/data/records/list-{number}")
def rows_of_list(request: Request, number: int) -> Response:
    """One part of the list, as the files of a static page hold it."""
    start = number * LIST_RECORDS
    return _json(_served(request).rows[start : start + LIST_RECORDS] if number >= 0 else [])


@ROUTES.get("/media/{name}")
def media(request: Request, name: str) -> Response:
    path = _served(request).folder / FOLDER / name
    if not _CLIP.fullmatch(name) or not path.is_file():
        raise ApiError(404, "no such clip")
    return FileResponse(path)


@ROUTES.get("/api/changes")
def changes(request: Request, since: int = 0) -> Response:
    """The states of all records with a decision, or of those that changed after the `since`-th decision."""
    served = _served(request)
    review = served.review
    now = len(review.changed)
    if since <= 0:
        numbers = [entry.number for entry in served.collection.entries if review.state(entry.number).version]
    else:
        numbers = sorted(set(review.changed[since:now]))
    states = [served.state(number) for number in numbers]
    return _json({"seq": now, "counts": review.counts(), "states": states, "out": str(review.out)})


@ROUTES.get("/api/records/{number}")
def record(request: Request, number: int) -> Response:
    """One record as it is corrected now, with its state."""
    served = _served(request)
    entry = served.entry(number)
    state = served.state(number)  # before the draft: a decision in between makes this one too old
    return _json({**served.shown(entry, served.review.draft(number)), "state": state})


@ROUTES.post("/api/records/{number}/change")
async def change_draft(request: Request, number: int) -> Response:
    """A draft after one correction; nothing is written."""
    served = _served(request)
    entry, asked = served.entry(number), await _asked(request)

    def changed() -> dict[str, Any]:
        draft = Draft.from_json(asked.get("draft"))
        wanted = asked.get("change")
        return served.shown(entry, change(draft, wanted) if wanted else draft)

    return _json(await _in_thread(changed))


@ROUTES.post("/api/records/{number}/decision")
async def decide(request: Request, number: int) -> Response:
    """Decide about a record: `version`, `decision`, `why`, `by`, and a `draft` or null for what is there."""
    served = _served(request)
    entry, asked = served.entry(number), await _asked(request)

    def decided() -> dict[str, Any]:
        version, decision = rows.integer(asked.get("version"), "version"), _decision(asked)
        why, by = (_line(asked.get(name), name) for name in ("why", "by"))
        given = asked.get("draft")
        draft = served.review.draft(number) if given is None else Draft.from_json(given)
        served.review.decide(number, version, decision, why, by, draft)
        return {**served.shown(entry, draft), **_after(served, number)}

    try:
        return _json(await _in_thread(decided))
    except Stale as stale:
        return _conflict(served, entry, stale)
    except Unusable as error:
        raise ApiError(
            422, f"the rules reject it, so it cannot be accepted: {error}", param=error.rejection.field
        ) from None


def _after(served: Served, number: int) -> dict[str, Any]:
    return {"state": served.state(number), "counts": served.review.counts()}


def _conflict(served: Served, entry: Entry, stale: Stale) -> Response:
    state: State = stale.now
    error = ApiError(409, f"somebody changed this record: {stale}", code="stale").to_json()
    draft = served.review.draft(entry.number)
    theirs = {**served.shown(entry, draft), **_after(served, entry.number)}
    return JSONResponse(
        {**error, "changes": list(stale.changes), "by": state.by, "at": state.at, "now": theirs}, 409
    )


async def _in_thread(work: Any) -> Any:
    """What a request asks for, whose mistakes are said with the field."""
    try:
        return await run_in_threadpool(work)
    except RowError as error:
        raise invalid(str(error), error.field) from None


async def _asked(request: Request) -> Mapping[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ApiError(415, "the body must be application/json")
    try:
        asked = orjson.loads(await read_body(request, BODY_BYTES, BODY_S))
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise invalid("the body must be a JSON object")
    return asked


def _decision(asked: Mapping[str, Any]) -> Decision:
    found = next((name for name in DECISIONS if name == asked.get("decision")), None)
    if found is None:
        raise invalid(f"decision: expected one of {', '.join(DECISIONS)}", "decision")
    return found


def _line(value: Any, name: str) -> str:
    """A short text on one line."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 1_000:
        raise invalid(f"{name}: expected a short text", name)
    return " ".join(rows.check_text(value, name).split())


def _served(request: Request) -> Served:
    return request.app.state.served


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), media_type="application/json")


def _asset(request: Request) -> Response:
    package, name = ASSETS[request.url.path]
    content = files(package).joinpath(name).read_bytes()
    return Response(content, media_type=_KINDS[name.rpartition(".")[2]])


for _path in ASSETS:
    ROUTES.add_api_route(_path, _asset, methods=["GET"])
