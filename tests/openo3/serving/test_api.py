"""The API as OpenAI's own client uses it."""

from __future__ import annotations

import concurrent.futures
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI
from PIL import Image

from openo3.inference.model import Model
from tests.openo3.serving.conftest import NAME, SMALL, about, client_of, data_url, serving
from tests.support.clips import clip


def ask(client: OpenAI, messages: list[dict], **options: object):
    return client.chat.completions.create(model=NAME, messages=messages, **options)  # type: ignore[call-overload]


def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def load_of(address: str) -> dict[str, int]:
    found = httpx.get(f"{address}/status").json()
    return {name: found[name] for name in ("answering", "waiting")}


@pytest.fixture(scope="module", autouse=True)
def _own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers of these tests keep clips where no others do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("servers")))
        yield


def kept_files() -> list[Path]:
    """What servers keep of clips at the moment."""
    folders = Path(tempfile.gettempdir()).glob("openo3-serve-*")
    return [
        path for folder in folders for path in folder.rglob("*") if path.name.startswith(("clip", "upload"))
    ]


def test_the_model_is_listed(client: OpenAI) -> None:
    assert [found.id for found in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).owned_by == "openo3"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_an_answer_is_that_of_ask_with_its_evidence(client: OpenAI, model: Model, video: Path) -> None:
    reply = ask(client, about(video))
    expected = model.ask(video, "What is it?", max_new_tokens=SMALL.max_tokens)
    [choice] = reply.choices
    assert choice.message.content == expected.completion.text
    evidence = choice.evidence  # type: ignore[attr-defined]
    same = ("question", "answer", "reasoning", "claims", "spans", "protocol")
    assert {name: evidence[name] for name in same} == {name: expected.to_json()[name] for name in same}
    assert evidence["model"] == NAME
    assert reply.usage.prompt_tokens > 100
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream_gives_the_same_text_and_ends_with_evidence(client: OpenAI, video: Path) -> None:
    whole = ask(client, about(video)).choices[0]
    chunks = list(ask(client, about(video), stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len([text for text in texts if text]) > 3
    assert "".join(texts) == whole.message.content
    last = [chunk for chunk in chunks if chunk.choices][-1].choices[0]
    assert last.finish_reason == whole.finish_reason
    assert last.evidence == whole.evidence
    assert chunks[-1].usage.completion_tokens > 3
    assert chunks[0].choices[0].delta.role == "assistant"


def test_evidence_so_far_comes_with_every_chunk_where_asked(client: OpenAI, video: Path) -> None:
    chunks = list(ask(client, about(video), stream=True, extra_body={"evidence_updates": "chunk"}))
    grown = [choice.evidence for chunk in chunks for choice in chunk.choices if hasattr(choice, "evidence")]
    assert len(grown) > 3
    assert all(evidence["partial"] for evidence in grown[:-1])
    assert "partial" not in grown[-1]


def test_several_answers_are_sampled_with_a_seed(client: OpenAI, video: Path) -> None:
    options = {"n": 2, "temperature": 0.9, "seed": 3, "max_tokens": 20}
    first, again = (ask(client, about(video), **options) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1]
    assert texts == [choice.message.content for choice in again.choices]
    assert texts[0] != texts[1]
    streamed = ["", ""]
    for chunk in ask(client, about(video), stream=True, **options):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_max_tokens_and_stop_end_an_answer(client: OpenAI, video: Path) -> None:
    text = ask(client, about(video)).choices[0].message.content
    short = ask(client, about(video), max_tokens=3)
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 3
    stop = text[10:14]
    stopped = ask(client, about(video), stop=[stop]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (text[: text.index(stop)], "stop")
    pieces = [c.choices[0].delta.content or "" for c in ask(client, about(video), stop=stop, stream=True)]
    assert "".join(pieces) == stopped.message.content


def test_a_question_without_a_clip_is_answered_without_evidence(client: OpenAI) -> None:
    reply = ask(client, [{"role": "user", "content": "What is a circle?"}], max_tokens=8)
    assert reply.choices[0].evidence is None  # type: ignore[attr-defined]
    assert reply.usage.prompt_tokens < 100


def test_plain_leaves_the_evidence_prompt_off(client: OpenAI, video: Path) -> None:
    evidence = ask(client, about(video), extra_body={"plain": True}).choices[0].evidence
    assert evidence["protocol"]["prompt"] == "What is it?"
    evidence = ask(client, about(video), extra_body={"task": "temporal"}).choices[0].evidence
    assert "From <t>start</t>s" in evidence["protocol"]["prompt"]


def test_a_picture_is_asked_about_with_image_url(client: OpenAI, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    parts = [
        {"type": "image_url", "image_url": {"url": data_url(tmp_path / "red.png", "image/png")}},
        {"type": "text", "text": "What colour is it?"},
    ]
    evidence = ask(client, [{"role": "user", "content": parts}]).choices[0].evidence
    assert evidence["media"] == {"kind": "image", "size": [64, 48], "duration_s": None}


def test_an_uploaded_file_is_gone_once_its_question_is_answered(client: OpenAI, video: Path) -> None:
    stored = client.files.create(file=video, purpose="user_data")
    assert stored.bytes == video.stat().st_size
    assert kept_files()
    parts = [{"type": "file", "file": {"file_id": stored.id}}, {"type": "text", "text": "What is it?"}]
    reply = ask(client, [{"role": "user", "content": parts}])
    assert reply.choices[0].message.content == ask(client, about(video)).choices[0].message.content
    assert not kept_files()
    with pytest.raises(openai.NotFoundError, match="not here"):
        ask(client, [{"role": "user", "content": parts}])
    other = client.files.create(file=video, purpose="user_data")
    assert client.files.delete(other.id).deleted
    assert not kept_files()


HTTPS = [{"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}]
TEXT = [{"type": "text", "text": "What?"}]


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"temperature": 3.0}, "temperature", "less than or equal to 2"),
        ({"n": 9, "temperature": 1.0}, "n", "at most 3"),
        ({"n": 2, "temperature": 0.0}, "n", "temperature above 0"),
        ({"max_tokens": 1000}, "max_tokens", "at most 64"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
        ({"logprobs": True}, "logprobs", "not supported"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "evidence"),
        ({"extra_body": {"colour": "red"}}, "colour", "not permitted"),
        ({"extra_body": {"task": "sing"}}, "task", "expected one of"),
        ({"messages": [{"role": "system", "content": "Be kind."}]}, "messages", "no system message"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages", "empty"),
        ({"messages": [{"role": "user", "content": "x" * 501}]}, "messages", "at most 500"),
        ({"messages": [{"role": "user", "content": HTTPS + TEXT}]}, "messages", "fetches nothing"),
    ],
)
def test_what_is_not_honoured_is_refused(client: OpenAI, change: dict, param: str, said: str) -> None:
    options = {"messages": [{"role": "user", "content": "What?"}]} | change
    with pytest.raises(openai.BadRequestError, match=said) as error:
        ask(client, **options)
    assert error.value.param == param
    assert error.value.type == "invalid_request_error"


def test_another_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="use 'tiny-qwen3-vl'"):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "What?"}])


def test_a_broken_clip_is_an_error_whole_and_streamed(client: OpenAI, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 10)
    with pytest.raises(openai.BadRequestError, match="neither a picture nor a video"):
        ask(client, about(tmp_path / "broken.mp4"))
    with pytest.raises(openai.APIError, match="neither a picture nor a video"):
        list(ask(client, about(tmp_path / "broken.mp4"), stream=True))
    assert not kept_files()


def test_limits_of_size_and_length_hold(client: OpenAI, address: str, tmp_path: Path) -> None:
    with pytest.raises(openai.APIStatusError, match="more than 1 MB") as error:
        ask(client, [{"role": "user", "content": "x" * 1_100_000}])
    assert error.value.status_code == 413
    large = tmp_path / "large.mp4"
    large.write_bytes(b"\0" * 2_100_000)
    with pytest.raises(openai.APIStatusError, match="more than 2 MB"):
        client.files.create(file=large, purpose="user_data")
    long = clip(tmp_path / "long.mp4", count=70, fps=2)
    with pytest.raises(openai.BadRequestError, match="too long: 35 s, at most 30 s"):
        ask(client, about(long))
    assert not kept_files()
    assert load_of(address) == {"answering": 0, "waiting": 0}


def test_a_client_that_goes_away_frees_its_place(address: str, model: Model, video: Path) -> None:
    body = {"model": NAME, "messages": about(video), "n": 3, "temperature": 2.0, "stream": True}
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=30) as response:
        lines = response.iter_lines()
        while '"content"' not in next(lines):
            pass
        assert load_of(address)["answering"] == 1
    until(lambda: load_of(address) == {"answering": 0, "waiting": 0})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/v1/chat/completions", json=body | {"stream": False}, timeout=0.15)
    until(lambda: load_of(address) == {"answering": 0, "waiting": 0})
    assert not kept_files()


def test_beyond_the_queue_requests_are_refused_and_those_in_it_learn_their_place(
    address: str,
) -> None:
    # Each takes three of the four places, so they are answered one by one
    body = {"model": NAME, "messages": about(None), "n": 3, "temperature": 2.0, "stream": True, "seed": 1}

    def send(_: int) -> httpx.Response:
        return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)

    with concurrent.futures.ThreadPoolExecutor(9) as threads:
        answers = list(threads.map(send, range(9)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 1
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert all(answer.json()["error"]["code"] == "queue_full" for answer in refused)
    served = [answer.text for answer in answers if answer.status_code == 200]
    assert any(": queue 2" in text or ": queue 3" in text for text in served)
    assert all(text.endswith("data: [DONE]\n\n") and '"finish_reason": "' in text for text in served)


def test_a_request_that_takes_too_long_ends_with_an_error(model: Model, video: Path) -> None:
    with serving(model, replace(SMALL, time_s=0.05)) as address:
        with pytest.raises(openai.InternalServerError, match=r"not answered within 0.05 s") as error:
            ask(client_of(address), about(video))
        assert error.value.status_code == 504
        streamed = {"model": NAME, "messages": about(video), "stream": True}
        text = httpx.post(f"{address}/v1/chat/completions", json=streamed, timeout=30).text
        assert json.loads(text.split("data: ")[-2])["error"]["code"] == "timeout"
