"""What a request to `/v1/chat/completions` asks for, checked before anything is decoded.

    {"model": "gspo", "messages": [{"role": "user", "content": [
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,…"}},
        {"type": "text", "text": "What enters after the red circle?"}]}],
     "max_tokens": 300, "stream": true}

A parameter that is not honoured is refused, unless it has the value that changes nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openo3.core.schema import STGR_TASKS, Task
from openo3.core.voting import Votes
from openo3.inference.model import LEAST_TEMPERATURE
from openo3.model.decoding import Sampling
from openo3.serving.errors import ApiError, invalid
from openo3.serving.limits import ServingLimits

TASKS = {task.name.lower().replace("_", "-"): task for task in STGR_TASKS}
MOST_STOPS, LONGEST_STOP = 4, 100
MOST_VALUES = 20_000
"""In a body: its bytes are those of a clip, but megabytes of `[[],[],…` are gigabytes when they are read."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, True, False),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "reasoning_effort": (None, "none"),
    "web_search_options": (None,),
    "store": (None, False),
}
"""Parameters of OpenAI's that nothing here implements, with the values that ask for nothing."""

IGNORED = {"user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity"}
"""Parameters that do not change an answer."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Url(_Strict):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class _File(_Strict):
    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None


class _Text(_Strict):
    type: Literal["text"]
    text: str


class _Image(_Strict):
    type: Literal["image_url"]
    image_url: _Url


class _Video(_Strict):
    type: Literal["video_url"]
    video_url: _Url


class _FilePart(_Strict):
    type: Literal["file"]
    file: _File


_Part = Annotated[_Text | _Image | _Video | _FilePart, Field(discriminator="type")]


class _Message(_Strict):
    role: str
    content: str | list[_Part]
    name: str | None = None


class _StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class _ResponseFormat(BaseModel):
    type: str


class _Body(_Strict):
    model: str
    messages: list[_Message] = Field(min_length=1)
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    response_format: _ResponseFormat | None = None
    plain: bool = False
    task: str | None = None
    evidence_updates: Literal["claim", "chunk"] = "claim"


@dataclass(frozen=True)
class Source:
    """Where a clip comes from: an address (data: or https:), or the id of an uploaded file."""

    url: str | None = None
    file_id: str | None = None


@dataclass(frozen=True)
class Chat:
    """A checked request. `task` is `None` for the usual kind of answer, `source` without a clip."""

    question: str
    source: Source | None
    task: Task | None
    plain: bool
    sampling: Sampling
    seeded: bool
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    every_chunk: bool


def parse(body: bytes, model: str, limits: ServingLimits) -> Chat:
    """The request in a body of JSON, for the model of that name. Raises `ApiError`."""
    try:
        request = _Body.model_validate(_known(_object(body)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function"))
        raise invalid(f"{where}: {first['msg']}", where or None) from None
    if request.model != model:
        raise ApiError(
            404, f"model {request.model[:80]!r}: not served here; use {model!r}", param="model",
            code="model_not_found",
        )  # fmt: skip
    question, source = _asked(request.messages, limits)
    if request.response_format is not None and request.response_format.type != "text":
        raise invalid(
            "response_format: the model answers in its evidence grammar, which no JSON schema constrains; "
            "read the choice's `evidence` instead, which is JSON",
            "response_format",
        )
    if request.task is not None and request.task not in TASKS:
        raise invalid(f"task {request.task[:40]!r}: expected one of {', '.join(TASKS)}", "task")
    if request.plain and request.task is not None:
        raise invalid("task: a plain question has none", "task")
    return Chat(
        question=question,
        source=source,
        task=TASKS.get(request.task or ""),
        plain=request.plain,
        sampling=_sampling(request, limits),
        seeded=request.seed is not None,
        stop=_stop(request.stop),
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        every_chunk=request.evidence_updates == "chunk",
    )


def _object(body: bytes) -> dict[str, Any]:
    import orjson

    # At least as many as there are values, but commas in texts count too
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise invalid(f"the body has more than {MOST_VALUES:,} values or commas")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise invalid("the body must be a JSON object")
    return found


def _known(found: dict[str, Any]) -> dict[str, Any]:
    """Without parameters that change nothing. Raises for one that would."""
    for name, neutral in NEUTRAL.items():
        if name in found and not any(found[name] == value for value in neutral):
            raise invalid(f"{name}: not supported", name, "unsupported_parameter")
    return {name: value for name, value in found.items() if name not in NEUTRAL and name not in IGNORED}


def _asked(messages: list[_Message], limits: ServingLimits) -> tuple[str, Source | None]:
    """The question and where its clip is."""
    if len(messages) != 1 or messages[0].role != "user":
        raise invalid(
            "messages: expected one message with the role `user`; the model knows single questions only, and "
            "no system message",
            "messages",
        )
    content = messages[0].content
    parts = [_Text(type="text", text=content)] if isinstance(content, str) else content
    question = "\n".join(part.text for part in parts if isinstance(part, _Text)).strip()
    sources = [_source(part) for part in parts if not isinstance(part, _Text)]
    if not question:
        raise invalid("messages: the question is empty", "messages")
    if len(question) > limits.question_chars:
        raise invalid(
            f"messages: the question has {len(question):,} characters, at most {limits.question_chars:,} "
            "are read",
            "messages",
        )
    if len(sources) > 1:
        raise invalid(f"messages: {len(sources)} clips, one is answered about", "messages")
    return question, sources[0] if sources else None


def _source(part: _Image | _Video | _FilePart) -> Source:
    if isinstance(part, _Image):
        return Source(url=part.image_url.url)
    if isinstance(part, _Video):
        return Source(url=part.video_url.url)
    if (part.file.file_id is None) == (part.file.file_data is None):
        raise invalid("messages: a file part has either file_id or file_data", "messages")
    return Source(url=part.file.file_data, file_id=part.file.file_id)


def _sampling(request: _Body, limits: ServingLimits) -> Sampling:
    """As `openo3 ask` samples: greedily, or several answers at a temperature."""
    n = request.n or 1
    if n > limits.answers:
        raise invalid(f"n is {n}, at most {limits.answers}", "n")
    temperature = request.temperature
    if temperature is None:
        temperature = Votes.temperature if n > 1 else 0.0
    if 0 < temperature < LEAST_TEMPERATURE:
        raise invalid(
            f"temperature is {temperature:g}, expected 0 or at least {LEAST_TEMPERATURE}", "temperature"
        )
    if n > 1 and temperature == 0:
        raise invalid("n: several answers need a temperature above 0", "n")
    asked = request.max_completion_tokens or request.max_tokens or limits.max_tokens
    if asked > limits.max_tokens:
        raise invalid(f"max_tokens is {asked}, at most {limits.max_tokens}", "max_tokens")
    top_p = request.top_p if request.top_p is not None else Votes.top_p
    seed = secrets.randbits(31) if request.seed is None and temperature else request.seed or 0
    return Sampling(asked, temperature, top_p if temperature else 1.0, n, seed % (1 << 63))


def _stop(given: str | list[str] | None) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given or []
    if len(stops) > MOST_STOPS or any(not 1 <= len(stop) <= LONGEST_STOP for stop in stops):
        raise invalid(f"stop: at most {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters", "stop")
    return tuple(stops)
