"""What the endpoint is asked about a clip and about what it said: kept replies first, within the budget."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any, TypeVar

from openo3 import chat
from openo3.annotating import pictures
from openo3.annotating.candidates import Candidate, Item
from openo3.annotating.clips import AnnotateError, Clip
from openo3.annotating.params import AnnotateParams, Endpoint, Shown
from openo3.annotating.pictures import Frames
from openo3.annotating.prompts import AnnotatePrompts
from openo3.annotating.reading import Asked, Unusable, read_evidence, read_schema, schema_of
from openo3.annotating.replies import Budget, Replies, Said, key_of
from openo3.benchmarks.judges import CORRECT, parse_rating
from openo3.core.prompts import Prompts
from openo3.core.schema import Task
from openo3.media.container import MediaError
from openo3.media.image import fit_size
from openo3.media.isolated import Processes
from openo3.media.probe import decoding_limit_s

T = TypeVar("T")

MAX_CLIP_BYTES = 64_000_000
"""Of a file that is sent as it is."""
CHECK_TOKENS, GRADE_TOKENS = 256, 16
"""The longest reply to a filter's question; reasoning models get room from `Endpoint.body`."""

_TIME_LIMIT_S = 120.0
_PIXELS_A_TOKEN, _CHARS_A_TOKEN = 784, 3.5  # for estimates
_FATAL = (401, 403, 404)
"""Statuses that no other request would fare better with: a wrong key or model."""


class NoReply(Exception):
    """One request was not answered; the message says why."""


@dataclass(frozen=True)
class Ready:
    """A request, about how many tokens it has, and the times in seconds of the frames that it shows."""

    request: chat.Request
    tokens: int
    times_s: tuple[float, ...] = ()


class Asker:
    """Asks about clips. `annotator` and `checker` are connected endpoints."""

    def __init__(
        self,
        params: AnnotateParams,
        prompts: AnnotatePrompts,
        common: Prompts,
        lines: tuple[chat.Line, chat.Line],
        replies: Replies,
        executor: Executor,
    ) -> None:
        self.params, self.prompts, self.common = params, prompts, common
        self.annotator, self.checker = lines
        self.replies = replies
        self.budget = Budget(params.budget, replies.usage)
        self._executor, self._processes = executor, Processes()
        self._under_way: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failed = 0  # requests in a row

    def stop(self) -> None:
        self._processes.stop()

    async def annotate(
        self, clip: Clip, task: Task, question: str | None, count: int, first: int
    ) -> list[Candidate | Unusable]:
        """The candidates of one request. Raises `NoReply`, `MediaError`, `BudgetSpent`, `AnnotateError`."""
        evidence = self.params.reply == "evidence"
        send, shown = self.params.send, self.params.frames
        space = self.params.space(fit_size(*clip.media.size, shown.max_pixels, shown.multiple))
        if evidence and send == "clip":  # `openo3 serve` adds the instruction
            said = question or ""
        elif evidence:
            said = self.common.task(task, question or "")
        else:
            said = self.prompts.request(task, space, count, question)
        facts: dict[str, Any] = {"send": send, "said": said, "common": self.common.digest}
        if send == "frames":
            facts["frames"] = asdict(shown)
        more: dict[str, Any] = {}
        if evidence and send == "clip":
            more = {"task": task.name.lower().replace("_", "-")}
        schema = None if evidence else schema_of(task, given=question is not None)

        async def make() -> Ready:
            seen = None
            if send == "frames":
                seen = await self._decoded(clip, pictures.frames, (str(clip.path), shown.sampling(), ()))
            return await self._about_clip(clip, seen, said, self.params.reply_tokens, schema, more)

        reply = await self._ask("annotate", clip, self.params.endpoint, facts | {"more": more}, make)
        if reply.cut:
            return [Unusable("reply: cut off", f"longer than max_tokens, {self.params.reply_tokens}", "")]
        asked = Asked(clip, task, question, space, reply.times_s, count, self.common, first)
        return list((read_evidence if evidence else read_schema)(reply.text, asked))

    async def second_look(self, clip: Clip, item: Item) -> str:
        """What the checker says about the crop of an item. Raises as `annotate` does."""
        filters, shown = self.params.filters, self.params.frames
        said = self.prompts.second_look(item.name, filters.confirm)
        job = (
            str(clip.path),
            item.time_s,
            item.box,
            filters.confirm_margin,
            shown.crop_pixels,
            shown.multiple,
        )

        async def make() -> Ready:
            cut = await self._decoded(clip, pictures.crop, job)
            parts = [chat.picture(cut), chat.text(said)]
            tokens = shown.crop_pixels // _PIXELS_A_TOKEN
            return _ready(chat.Request(parts, CHECK_TOKENS, more=self._plain()), tokens, said)

        return (
            await self._ask("second look", clip, self.params.checking, {"said": said, "job": job[1:]}, make)
        ).text

    async def from_key_frames(self, clip: Clip, candidate: Candidate) -> str:
        """The answer of the checker that sees the key frames alone. Raises as `annotate` does."""
        said, times_s = self.prompts.key_frames(candidate.sample.question), tuple(candidate.times_s)
        shown = self.params.frames

        async def make() -> Ready:
            if self.params.checked_by_clips:
                film = await self._decoded(
                    clip, pictures.held, (str(clip.path), clip.media, times_s, shown.max_pixels)
                )
                request = chat.Request([chat.video(film), chat.text(said)], CHECK_TOKENS, more=self._plain())
                return _ready(request, picture_tokens(shown, shown.max_frames), said)
            seen = await self._decoded(clip, pictures.frames, (str(clip.path), shown.sampling(), times_s))
            return await self._about_clip(clip, seen, said, CHECK_TOKENS, None, {})

        facts = {
            "said": said,
            "times_s": times_s,
            "held": self.params.checked_by_clips,
            "frames": asdict(shown),
        }
        return (await self._ask("key frames", clip, self.params.checking, facts, make)).text

    async def blind(self, clip: Clip, candidate: Candidate, number: int) -> str:
        """An answer of the checker that sees nothing. Raises as `annotate` does."""
        said = self.prompts.blind(candidate.sample.question, clip.media.duration_s)
        temperature = self.params.filters.blind_temperature
        # Each time another seed: at a temperature of 0 all would say the same
        more = {"seed": number, **self._plain()}
        request = chat.Request(said, CHECK_TOKENS, temperature, more=more)

        async def make() -> Ready:
            return _ready(request, 0, said)

        facts = {"said": said, "number": number, "temperature": temperature}
        return (await self._ask("blind", None, self.params.checking, facts, make)).text

    async def grades_as_right(self, question: str, truth: str, said: str) -> bool:
        """Whether the checker grades an answer as right. Raises as `annotate` does."""
        asked = self.common.grade(question, truth, said[:4000])

        async def make() -> Ready:
            return _ready(chat.Request(asked, GRADE_TOKENS), 0, asked)

        reply = await self._ask("grade", None, self.params.checking, {"said": asked}, make)
        return parse_rating(reply.text) >= CORRECT

    async def _ask(
        self,
        kind: str,
        clip: Clip | None,
        endpoint: Endpoint,
        facts: Mapping[str, Any],
        make: Callable[[], Awaitable[Ready]],
    ) -> Said:
        """A kept reply, or a new one, which is then kept."""
        asked = {"kind": kind, "clip": clip and clip.digest, "model": endpoint.model, "body": endpoint.body}
        key = key_of({**asked, **facts})
        async with self._under_way[key]:
            known = self.replies.find(key)
            if known and (not known.cut or known.room >= self._room(kind)):
                return known
            ready, room = await make(), self._room(kind)
            self.budget.reserve(ready.tokens, room)
            try:
                line = self.annotator if kind == "annotate" else self.checker
                more = {**endpoint.body, **ready.request.more}
                reply = await self._answered(line, replace(ready.request, more=more))
            finally:
                self.budget.release(ready.tokens, room)
            read = ready.tokens if reply.read is None else reply.read
            written = ceil(len(reply.text) / _CHARS_A_TOKEN) if reply.written is None else reply.written
            said = Said(reply.text, reply.cut, room, ready.times_s)
            return self.replies.add(key, kind, clip.name if clip else "", said, read, written)

    def _room(self, kind: str) -> int:
        """The longest reply to a kind of request, in tokens."""
        return {"annotate": self.params.reply_tokens, "grade": GRADE_TOKENS}.get(kind, CHECK_TOKENS)

    async def _answered(self, line: chat.Line, request: chat.Request) -> chat.Reply:
        try:
            reply = await line.reply(request)
            # A login page, say: kept, it would stand for the model's reply for ever
            if not reply.text and not reply.cut and reply.written is None:
                raise ConnectionError(f"endpoint at {line.chat.url}: its reply holds no text of a model")
        except ConnectionError as error:
            self._failed += 1
            if isinstance(error, chat.Refused) and error.status in _FATAL:
                raise AnnotateError(str(error)) from None
            if self._failed >= max(8, 2 * self.params.concurrency):
                raise AnnotateError(f"{error}; {self._failed} requests in a row were not answered") from None
            raise NoReply(str(error)) from None
        self._failed = 0
        return reply

    async def _about_clip(
        self,
        clip: Clip,
        seen: Frames | None,
        said: str,
        max_tokens: int,
        schema: Mapping[str, Any] | None,
        more: Mapping[str, Any],
    ) -> Ready:
        """A question about a clip: its frames with their times, or the file as it is."""
        shown = self.params.frames
        if seen is None:
            size = clip.path.stat().st_size
            if size > MAX_CLIP_BYTES:
                raise NoReply(
                    f"the file has {size / 1e6:.0f} MB, at most {MAX_CLIP_BYTES / 1e6:.0f} MB are sent"
                )
            content = await asyncio.get_running_loop().run_in_executor(self._executor, clip.path.read_bytes)
            part = chat.picture(content) if clip.kind == "image" else chat.video(content)
            request = chat.Request([part, chat.text(said)], max_tokens, schema=schema, more=more)
            return _ready(request, picture_tokens(shown, shown.max_frames), said)
        messages = self.common.messages(seen.times_s, seen.duration_s, said)
        images = iter(seen.pictures)
        parts = [
            chat.picture(next(images)) if part["type"] == "image" else part
            for part in messages[-1]["content"]
        ]
        system = "".join(part["text"] for part in messages[0]["content"]) if len(messages) > 1 else ""
        request = chat.Request(parts, max_tokens, schema=schema, system=system, more=more)
        tokens = picture_tokens(shown, len(seen.pictures), seen.size)
        return _ready(request, tokens, said, seen.times_s)

    async def _decoded(self, clip: Clip, function: Callable[[Any], T], job: Any) -> T:
        """What a job of `pictures` gives; no more of them at once than the executor has threads."""
        limit_s = decoding_limit_s(clip.media, _TIME_LIMIT_S)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._executor, self._processes.call, function, job, limit_s)
        if isinstance(found, MediaError):
            raise found
        return found

    def _plain(self) -> dict[str, Any]:
        """`openo3 serve` adds its evidence grammar's instruction unless it is told not to."""
        return {"plain": True} if self.params.checked_by_clips else {}


def _ready(request: chat.Request, pictures_: int, said: str, times_s: tuple[float, ...] = ()) -> Ready:
    return Ready(request, pictures_ + text_tokens(said), times_s)


def text_tokens(said: str) -> int:
    """About how many tokens a text has, with what surrounds it in a conversation."""
    return ceil(len(said) / _CHARS_A_TOKEN) + 32


def picture_tokens(shown: Shown, count: int, size: tuple[int, int] | None = None) -> int:
    """About how many tokens so many frames have."""
    pixels = size[0] * size[1] if size else shown.max_pixels
    return ceil(count * pixels / _PIXELS_A_TOKEN)
