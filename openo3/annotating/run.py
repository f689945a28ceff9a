"""Annotate a folder: many clips at a time, and the files that come out.

    annotate(Path("videos"), Path("local"), params)

    local/STGR-SFT.json  STGR-RL.json    the records, with and without reasoning
    local/videos/  images/               the clips that were asked about, as hard links or copies
    local/aside.jsonl                    what failed: the filter, the reason, and the record as it would be
    local/annotate.json                  counts, tokens, cost and parameters; written last
    local/replies.jsonl                  every reply (`openo3.annotating.replies`)

A killed run continues when it is started again: nothing is asked twice. Another threshold of a filter needs
no request where the replies are there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from tqdm import tqdm

from openo3.annotating import prompts as templates
from openo3.annotating.asking import Asker, NoReply
from openo3.annotating.candidates import Candidate, stgr_row
from openo3.annotating.clips import AnnotateError, Clip, Found, Question, find, read_questions
from openo3.annotating.filters import Context, Filter, used
from openo3.annotating.params import AnnotateParams, Endpoint
from openo3.annotating.reading import Unusable
from openo3.annotating.replies import Budget, BudgetSpent, Replies
from openo3.chat import Chat
from openo3.core.prompts import Prompts
from openo3.core.schema import Task
from openo3.files.artifacts import atomic_file, link_or_copy, read_json, write_json, write_jsonl
from openo3.files.locks import file_lock
from openo3.media import ffmpeg
from openo3.media.container import MediaError
from openo3.prompt_file import default_prompts

SFT, RL, ASIDE, SUMMARY, REPLIES = (
    "STGR-SFT.json", "STGR-RL.json", "aside.jsonl", "annotate.json", "replies.jsonl",
)  # fmt: skip
NOT_CHECKED = "not checked"
_UNANSWERED = "request not answered"


@dataclass(frozen=True)
class Job:
    """One request about a clip: `count` annotations, or one about a given question; the first is the clip's
    `first` of its task."""

    task: Task
    question: str | None
    count: int
    first: int


@dataclass(frozen=True)
class Judged:
    """A candidate and what the filters say: what is wrong by name of the filter, in their order; None where
    nothing is. Filters after the first that fails are not applied, unless all were asked for."""

    candidate: Candidate
    verdicts: Mapping[str, str | None]

    @property
    def failed(self) -> str | None:
        """The first filter that it does not pass."""
        return next((name for name, problem in self.verdicts.items() if problem is not None), None)


@dataclass
class Result:
    """What became of one clip; `unfinished` where the budget ended first."""

    clip: Clip
    judged: list[Judged] = field(default_factory=list)
    unusable: list[tuple[Job, Unusable]] = field(default_factory=list)
    unfinished: bool = False


@dataclass(frozen=True)
class Annotated:
    """All results, in the order of the clips; `stopped` says which budget ended the run."""

    found: Found
    results: Sequence[Result]
    filters: Sequence[Filter]
    requests: Mapping[str, int]
    budget: Budget
    stopped: str | None
    params: AnnotateParams

    def kept(self) -> Iterator[Candidate]:
        """The candidates that pass every filter."""
        for result in self.results:
            yield from (each.candidate for each in result.judged if each.failed is None)


def annotate(
    folder: Path,
    out: Path,
    params: AnnotateParams,
    *,
    replies: Path | None = None,
    common: Prompts | None = None,
    links: bool = True,
) -> Annotated:
    """Annotate the clips of `folder` and write `out`; the file of `replies` is kept there by default.

    `common` are the prompts of the pipeline. Without `links`, the clips are copied.

    Raises `AnnotateError`, `ConfigurationError` for a file of prompts, and `ValueError` for parameters.
    """
    kept = replies or out / REPLIES
    check_out(folder, out)
    _read(folder, params)  # before a file is written
    with file_lock(
        kept.with_name(f".{kept.name}.lock"), lambda: AnnotateError(f"{kept}: in use by another run")
    ):
        done = ask(folder, params, kept, without=[out], common=common)
        write(done, out, links)
    return done


def ask(
    folder: Path,
    params: AnnotateParams,
    replies: Path,
    *,
    without: Sequence[Path] = (),
    common: Prompts | None = None,
    every_filter: bool = False,
) -> Annotated:
    """The same without writing anything but the file of replies.

    Clips below `without` are not looked at. `every_filter` applies all filters to every candidate.
    """
    filters, texts, questions = _read(folder, params)
    found = find(folder, without)
    jobs = {clip.name: list(jobs_of(clip, params, questions)) for clip in found.clips}
    check_jobs(found, jobs, questions)
    memory = Replies(replies)
    try:
        running = _run(
            found.clips, jobs, params, filters, texts, common or default_prompts(), memory, every_filter
        )
        results, budget, stopped = asyncio.run(running)
    finally:
        memory.close()
    return Annotated(found, results, filters, dict(memory.by_kind), budget, stopped, params)


def _read(
    folder: Path, params: AnnotateParams
) -> tuple[list[Filter], templates.AnnotatePrompts, list[Question] | None]:
    """What the parameters name: filters, templates and questions. Raises as `annotate` does."""
    for name, endpoint in (("endpoint", params.endpoint), ("checker", params.checking)):
        check_endpoint(name, endpoint)
    if not folder.is_dir():
        raise AnnotateError(f"{folder}: no such folder")
    questions = read_questions(Path(params.questions)) if params.questions else None
    filters = used(params.filters)
    if params.checked_by_clips and any(each.name == "key-frames" for each in filters):
        try:
            ffmpeg.check()
        except RuntimeError as error:
            raise AnnotateError(f"{error}: the filter key-frames writes clips with it") from None
    return filters, templates.read(params.prompts), questions


def check_endpoint(name: str, endpoint: Endpoint) -> None:
    """Raises `AnnotateError` unless it has a usable address and names a model."""
    if not endpoint.url.startswith(("http://", "https://")):
        raise AnnotateError(
            f"{name}.url: {endpoint.url!r}: expected an address such as http://127.0.0.1:8000/v1"
        )
    if "@" in endpoint.url.split("/")[2]:
        raise AnnotateError(f"{name}.url: a user or password in it would be written down; name key_env")
    if not endpoint.model:
        raise AnnotateError(f"{name}.model: which model of {endpoint.url} is to be asked")


def jobs_of(clip: Clip, params: AnnotateParams, questions: Sequence[Question] | None) -> Iterator[Job]:
    """What is asked about a clip."""
    tasks = params.tasks_of(clip.kind)
    if questions is None:
        yield from (Job(task, None, params.per_video, 1) for task in tasks)
        return
    usual = Task.VISUAL if clip.kind == "image" else Task.TEMPORAL_SPATIAL
    for number, asked in enumerate(questions, start=1):
        task = asked.task or (tasks or [usual])[0]
        if asked.clip in (None, clip.name) and (task is Task.VISUAL) == (clip.kind == "image"):
            yield Job(task, asked.question, 1, number)


def check_jobs(found: Found, jobs: Mapping[str, Sequence[Job]], questions: Sequence[Question] | None) -> None:
    """Raises `AnnotateError` if nothing would be asked, or a question names no clip of the folder."""
    names = {clip.name for clip in found.clips} | {each.name for each in found.left_out}
    if lost := next(
        (asked.clip for asked in questions or () if asked.clip and asked.clip not in names), None
    ):
        raise AnnotateError(f"questions: {lost}: no such clip in the folder")
    if found.clips and not any(jobs.values()):
        raise AnnotateError("nothing to ask: no task or question fits a clip of the folder")


async def _run(
    clips: Sequence[Clip],
    jobs: Mapping[str, Sequence[Job]],
    params: AnnotateParams,
    filters: Sequence[Filter],
    texts: templates.AnnotatePrompts,
    common: Prompts,
    replies: Replies,
    every_filter: bool,
) -> tuple[list[Result], Budget, str | None]:
    stopped: list[str] = []
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(_chat(params.endpoint, params).connected())
        other = own
        if params.checking != params.endpoint:
            other = await stack.enter_async_context(_chat(params.checking, params).connected())
        threads = stack.enter_context(ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))))
        asker = Asker(params, texts, common, (own, other), replies, threads)
        stack.callback(asker.stop)
        bar = stack.enter_context(tqdm(total=len(clips), desc="annotate", unit="clip", disable=None))
        places = asyncio.Semaphore(params.concurrency)
        kept = 0

        async def one(clip: Clip) -> Result:
            nonlocal kept
            async with places:
                result = Result(clip)
                try:
                    await _annotate_clip(result, jobs[clip.name], asker, filters, every_filter)
                except BudgetSpent as spent:
                    result.unfinished = True
                    stopped.append(str(spent))
                kept += sum(each.failed is None for each in result.judged)
                cost = asker.budget.cost
                money = {} if cost is None else {"cost": f"{cost:.2f}"}
                bar.set_postfix({"records": kept, "requests": replies.usage.requests, **money}, refresh=False)
                bar.update()
                return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(clip)) for clip in clips]
        except ExceptionGroup as failed:  # the first one that failed ends the others
            raise failed.exceptions[0] from None
    return [task.result() for task in tasks], asker.budget, stopped[0] if stopped else None


def _chat(endpoint: Endpoint, params: AnnotateParams) -> Chat:
    return Chat(
        endpoint.url,
        endpoint.model,
        key_env=endpoint.key_env,
        concurrency=params.concurrency,
        attempts=params.attempts,
        timeout_s=params.timeout_s,
        max_tokens=params.reply_tokens,
        who="endpoint",
    )


async def _annotate_clip(
    result: Result, jobs: Iterable[Job], asker: Asker, filters: Sequence[Filter], every_filter: bool
) -> None:
    """Fill `result`. Raises `BudgetSpent` and `AnnotateError`."""
    clip, earlier = result.clip, []
    for job in jobs:
        try:
            found = await asker.annotate(clip, job.task, job.question, job.count, job.first)
        except NoReply as error:
            found = [Unusable(_UNANSWERED, str(error), "")]
        except MediaError as error:
            found = [Unusable(f"media {error.reason}", str(error), "")]
        for each in found:
            if isinstance(each, Unusable):
                result.unusable.append((job, each))
                continue
            context = Context(clip, asker.params.filters, asker, tuple(earlier))
            verdicts = await _judge(each, context, filters, every_filter)
            judged = Judged(each, verdicts)
            result.judged.append(judged)
            if judged.failed is None:
                earlier.append(each)


async def _judge(
    candidate: Candidate, context: Context, filters: Sequence[Filter], every_filter: bool
) -> dict[str, str | None]:
    verdicts: dict[str, str | None] = {}
    for each in filters:
        try:
            verdicts[each.name] = await each.check(candidate, context)
        except (NoReply, MediaError) as error:
            verdicts[each.name] = f"{NOT_CHECKED}: {error}"
        if verdicts[each.name] is not None and not every_filter:
            break
    return verdicts


def check_out(folder: Path, out: Path) -> None:
    """Raises `AnnotateError` if `out` holds records that a run would overwrite and did not write."""
    if folder.resolve() == out.resolve():
        raise AnnotateError(f"{out}: holds the clips; name another folder to write to")
    written = {}
    if (out / SUMMARY).is_file():
        try:
            written = dict(read_json(out / SUMMARY)["files"])
        except (LookupError, TypeError, ValueError):
            written = {}
    for name in (SFT, RL):
        path = out / name
        if path.exists() and written.get(name) != _digest(path):
            raise AnnotateError(
                f"{path}: was not written by this command, or edited since; move it away, or name another "
                "folder to write to"
            )


def write(done: Annotated, out: Path, links: bool = True) -> None:
    """The clips that have replies, the records, what was set aside, and last the summary."""
    out.mkdir(parents=True, exist_ok=True)
    kept = list(done.kept())
    for result in done.results:
        if result.judged or result.unusable:  # what was set aside is looked at on its clip, too
            _bring(result.clip, out, links)
    write_jsonl(out / ASIDE, aside(done))
    for name, reasoning in ((RL, False), (SFT, True)):
        _write_rows(out / name, [stgr_row(each.sample, reasoning=reasoning) for each in kept])
    write_json(out / SUMMARY, summary(done) | {"files": {name: _digest(out / name) for name in (SFT, RL)}})


def aside(done: Annotated) -> Iterator[dict[str, Any]]:
    """What is not among the records: files, replies and candidates, each with its reason."""
    reasons = {each.name: each.reason for each in done.filters}
    for left in done.found.left_out:
        yield _aside(left.name, left.reason, left.detail)
    for result in done.results:
        name = result.clip.name
        for job, each in result.unusable:
            yield _aside(
                name, each.reason, each.detail, task=str(job.task), question=job.question, text=each.text
            )
        for judged in result.judged:
            if failed := judged.failed:
                detail = judged.verdicts[failed] or ""
                reason = NOT_CHECKED if detail.startswith(NOT_CHECKED) else reasons[failed]
                row = stgr_row(judged.candidate.sample, reasoning=True)
                yield _aside(name, reason, detail, filter=failed, task=row["task"], question=row["question"],
                             record=row)  # fmt: skip
        if result.unfinished:
            yield _aside(name, "budget spent", done.stopped or "")


def _aside(clip: str, reason: str, detail: str, **more: Any) -> dict[str, Any]:
    fields = ("filter", "task", "question", "text", "record")
    return {"clip": clip, "reason": reason, "detail": detail, **{name: more.get(name) for name in fields}}


def summary(done: Annotated) -> dict[str, Any]:
    """Counts, tokens, cost and parameters."""
    judged = [each for result in done.results for each in result.judged]
    unusable = [each for result in done.results for _, each in result.unusable]
    spent = done.budget.spent
    return {
        "clips": len(done.results),
        "unfinished": sum(result.unfinished for result in done.results),
        "left_out": _counts(each.reason for each in done.found.left_out),
        "candidates": len(judged),
        "unusable": _counts(each.reason for each in unusable),
        "filters": {
            each.name: {
                "reason": each.reason,
                "checked": sum(each.name in one.verdicts for one in judged),
                "failed": sum(one.failed == each.name for one in judged),
            }
            for each in done.filters
        },
        "records": _counts(str(each.sample.task) for each in done.kept()),
        "requests": dict(done.requests),
        "tokens": {"read": spent.read, "written": spent.written},
        "cost": done.budget.cost,
        "stopped": done.stopped,
        "parameters": asdict(done.params),
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _bring(clip: Clip, out: Path, links: bool) -> None:
    target = out / ("images" if clip.kind == "image" else "videos") / clip.name
    if target.exists():
        if not target.samefile(clip.path) and _digest(target) != clip.digest:
            raise AnnotateError(f"{target}: is there with another content than {clip.path}; move it away")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if links:
        link_or_copy(clip.path.resolve(), target)
    else:
        with atomic_file(target) as part:
            shutil.copyfile(clip.path, part)


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A JSON list with one row a line."""
    with atomic_file(path) as part:
        part.write_bytes(b"[\n" + b",\n".join(map(orjson.dumps, rows)) + b"\n]\n")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
