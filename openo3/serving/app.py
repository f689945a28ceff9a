"""The routes: OpenAI's API under `/v1`, and the page at `/`.

    app = create_app(model, ServingLimits(), Access(api_key=None))

A request stands in line from its arrival. It is read, checked and decoded by a few threads, then written
together with the others by the one thread of the scheduler. Whatever happens to it, and if the client goes
away, it leaves the line and its files are deleted.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from openo3.inference.model import Model
from openo3.serving.bodies import limited, read_body
from openo3.serving.chat import Chat, parse
from openo3.serving.clips import Clips
from openo3.serving.decoders import Decoder, decoder_of
from openo3.serving.errors import ApiError, refuse
from openo3.serving.examples import Examples
from openo3.serving.limits import ServingLimits
from openo3.serving.prepare import Preparing
from openo3.serving.replies import DONE, Reply, Stream, comment, event
from openo3.serving.scheduler import Full, Job, Late, Scheduler, Stopped
from openo3.serving.security import Guard

_LOOKS_S = 0.25
"""How often a request that gets no stream looks whether its client is still there."""

_FORM_BYTES = 1 << 16
_LAST_WORD_S = 2.0
"""What a stream may take beyond its deadline, to say that it is late."""

ASSETS = {
    "/": ("openo3.serving.page", "index.html", "text/html"),
    "/page.js": ("openo3.serving.page", "page.js", "text/javascript"),
    "/page.css": ("openo3.serving.page", "page.css", "text/css"),
    "/player.js": ("openo3.player", "player.js", "text/javascript"),
    "/player.css": ("openo3.player", "player.css", "text/css"),
}


@dataclass(frozen=True)
class Access:
    """`api_key` is `None` where none is needed; `allow_https` lets requests name https addresses."""

    api_key: str | None = None
    allow_https: bool = False


def create_app(
    model: Model, limits: ServingLimits, access: Access, decoder: Decoder | None = None
) -> FastAPI:
    """The application; it works while its lifespan lasts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        scheduler = Scheduler(decoder or decoder_of(model.engine, limits.concurrent), limits)
        threads = ThreadPoolExecutor(limits.preparing, "prepare")
        with tempfile.TemporaryDirectory(prefix="openo3-serve-") as folder:
            clips = Clips(Path(folder), limits, access.allow_https)
            app.state.server = Server(
                name=Path(model.name).resolve().name,
                limits=limits,
                clips=clips,
                scheduler=scheduler,
                preparing=Preparing(model, clips, limits),
                threads=threads,
                examples=Examples(clips.folder / "examples"),
                started=int(time.time()),
            )
            tidying = asyncio.create_task(_tidy(clips))
            try:
                yield
            finally:
                tidying.cancel()
                scheduler.stop()
                threads.shutdown(wait=True, cancel_futures=True)

    app = FastAPI(title="openo3", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(ROUTES)
    for kind in (ApiError, HTTPException, RequestValidationError, ClientDisconnect):
        app.add_exception_handler(kind, refuse)
    app.add_middleware(Guard, api_key=access.api_key, open_paths=frozenset(ASSETS))
    return app


@dataclass
class Server:
    """What the routes share. `name` is what clients call the model, `started` a time in seconds."""

    name: str
    limits: ServingLimits
    clips: Clips
    scheduler: Scheduler
    preparing: Preparing
    threads: ThreadPoolExecutor
    examples: Examples
    started: int

    def enter(self) -> Job:
        """Stand in line. Raises `ApiError`."""
        try:
            return self.scheduler.enter()
        except Full as full:
            raise ApiError(
                429, f"too many requests at the moment: {full}", code="queue_full", retry_after_s=full.after_s
            ) from None
        except Stopped as error:
            raise _failed(error) from None

    async def prepare(self, job: Job, chat: Chat, claimed: Path | None) -> Reply:
        """Decode the clip and hand the prompt to the decoder. Raises `ApiError`."""
        loop = asyncio.get_running_loop()
        prepared = loop.run_in_executor(self.threads, self.preparing, chat, claimed, job.deadline)
        try:
            asked, writing = await asyncio.wait_for(prepared, max(0.0, job.deadline - time.monotonic()))
        except TimeoutError:
            raise _failed(Late(f"not answered within {self.limits.time_s:g} s")) from None
        self.scheduler.write(job, writing)
        return Reply(self.name, asked, writing)

    def leave(self, job: Job, claimed: Path | None) -> None:
        """Whatever happened to a request, nothing of it stays."""
        self.scheduler.end(job)
        if claimed is not None:
            claimed.unlink(missing_ok=True)


ROUTES = APIRouter()


@ROUTES.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """The one model that is served."""
    return {"object": "list", "data": [_model(_server(request))]}


@ROUTES.get("/v1/models/{name}")
async def one_model(request: Request, name: str) -> dict[str, Any]:
    server = _server(request)
    if name != server.name:
        raise ApiError(404, f"model {name[:80]!r}: not served here", param="model", code="model_not_found")
    return _model(server)


@ROUTES.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answers to one question, whole or as a stream."""
    server = _server(request)
    job = server.enter()
    claimed: Path | None = None
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise ApiError(415, "the body must be application/json")
        chat = parse(
            await read_body(request, server.limits.request_bytes, server.limits.body_s),
            server.name,
            server.limits,
        )
        claimed = server.clips.claim(chat.source) if chat.source else None
        if chat.stream:
            events = _Events(_streamed(server, job, chat, claimed), server, job, claimed)
            job, claimed = None, None  # from here on its own to end
            return events
        reply = await _while_connected(request, _written(server, job, chat, claimed))
        return JSONResponse(reply.whole())
    finally:
        if job is not None:
            server.leave(job, claimed)


async def _written(server: Server, job: Job, chat: Chat, claimed: Path | None) -> Reply:
    """The reply once it is complete."""
    reply = await server.prepare(job, chat, claimed)
    async for _ in job.changes():
        if job.error:
            raise _failed(job.error)
    return reply


async def _streamed(server: Server, job: Job, chat: Chat, claimed: Path | None) -> AsyncIterator[str]:
    """Server-sent events. Comments say how many requests are in front, and that the connection is alive."""
    preparing = asyncio.create_task(server.prepare(job, chat, claimed))
    preparing.add_done_callback(lambda _: job.changed())
    stream: Stream | None = None
    told = ""
    try:
        async for _ in job.changes():
            state = f"queue {job.position}" if job.position else "answering"
            piece = "" if state == told else comment(state)
            told = state
            if preparing.done() and stream is None:
                reply = preparing.result()
                stream = Stream(reply, include_usage=chat.include_usage, every_chunk=chat.every_chunk)
                piece += stream.begin()
            if job.error:
                raise _failed(job.error)
            if stream is not None and job.started:
                piece += stream.grow()
            yield piece or comment("alive")
        if stream is not None:
            yield stream.end()
    except ApiError as error:
        yield event(error.to_json()) + DONE
    finally:
        preparing.cancel()


class _Events(StreamingResponse):
    """A stream of events; its request leaves the line when it ends, in whatever way, even before it began."""

    def __init__(self, events: AsyncIterator[str], server: Server, job: Job, claimed: Path | None) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._leave = lambda: server.leave(job, claimed)
        self._left_s = job.deadline - time.monotonic() + _LAST_WORD_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # A client that reads nothing holds up its stream, and so its place in the line
            async with asyncio.timeout(self._left_s):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            pass
        finally:
            self._leave()


@ROUTES.post("/v1/files")
async def upload(request: Request) -> dict[str, Any]:
    """Store a clip until the question about it, which names it by its id, is answered."""
    server = _server(request)
    with server.clips.arriving():
        async with _closing(await _form(request, server.limits)) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise ApiError(400, "file: missing", param="file")
            file_id, stored = await server.clips.take_in(_pieces(file), (file.filename or "clip")[:200])
    return {
        "id": file_id,
        "object": "file",
        "bytes": stored.size,
        "created_at": stored.created,
        "expires_at": stored.created + int(server.limits.upload_s),
        "filename": stored.name,
        "purpose": "user_data",
        "status": "processed",
    }


@ROUTES.delete("/v1/files/{file_id}")
async def delete_upload(request: Request, file_id: str) -> dict[str, Any]:
    if not _server(request).clips.delete(file_id):
        raise ApiError(404, f"file {file_id[:40]!r}: not here", code="file_not_found")
    return {"id": file_id, "object": "file", "deleted": True}


@ROUTES.get("/status")
async def status(request: Request) -> dict[str, Any]:
    """What the page shows: the model, the limits, how many requests there are."""
    server = _server(request)
    limits = server.limits
    return {
        "model": server.name,
        **server.scheduler.load,
        "clip_mb": limits.clip_mb,
        "clip_s": limits.clip_s,
        "question_chars": limits.question_chars,
    }


@ROUTES.get("/examples")
async def examples(request: Request) -> list[dict[str, Any]]:
    """Clips to ask about, with a question each."""
    return _server(request).examples.listed()


@ROUTES.get("/examples/{number}")
async def example(request: Request, number: int) -> Response:
    """The clip of an example, drawn when it is first asked for."""
    server = _server(request)
    if not 0 <= number < len(server.examples):
        raise ApiError(404, f"example {number}: there are {len(server.examples)}")
    loop = asyncio.get_running_loop()
    path = await loop.run_in_executor(None, server.examples.clip, number)
    return FileResponse(path, media_type="video/mp4")


async def _asset(request: Request) -> Response:
    package, name, kind = ASSETS[request.url.path]
    return Response(files(package).joinpath(name).read_bytes(), media_type=kind)


for _path in ASSETS:
    ROUTES.add_api_route(_path, _asset, methods=["GET"])


def _server(request: Request) -> Server:
    return request.app.state.server


def _model(server: Server) -> dict[str, Any]:
    return {"id": server.name, "object": "model", "created": server.started, "owned_by": "openo3"}


def _failed(error: Exception) -> ApiError:
    if isinstance(error, Late):
        return ApiError(504, str(error), code="timeout")
    if isinstance(error, Stopped):
        return ApiError(503, str(error), code="stopped")
    return ApiError(500, f"the model failed: {' '.join(str(error).split())[:200]}")


async def _form(request: Request, limits: ServingLimits) -> FormData:
    """The multipart form of an upload. Raises `ApiError`."""
    pieces = limited(request, limits.clip_bytes, _FORM_BYTES)
    parser = MultiPartParser(request.headers, pieces, max_files=1, max_fields=8)
    try:
        async with asyncio.timeout(limits.body_s):
            return await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:  # the last: what Starlette's parser rests on
        raise ApiError(400, f"not a multipart form: {error}"[:200]) from None
    except TimeoutError:
        raise ApiError(408, f"the upload took longer than {limits.body_s:g} s") from None


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(1 << 20):
        yield piece


@asynccontextmanager
async def _closing(form: FormData) -> AsyncIterator[FormData]:
    """Deletes what Starlette stored of an upload."""
    try:
        yield form
    finally:
        await form.close()


T = TypeVar("T")


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result, unless the client goes away first: then the work is cancelled."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOKS_S))[0]:
            if await request.is_disconnected():
                raise ApiError(499, "the client has gone")
        return task.result()
    finally:
        task.cancel()


async def _tidy(clips: Clips) -> None:
    while True:
        await asyncio.sleep(30.0)
        clips.expire()
