"""The client of chat endpoints, beyond what judges use of it (`tests/openo3/benchmarks/test_judges.py`)."""

import asyncio
import base64

import pytest

from openo3.chat import Chat, Refused, Reply, Request, picture, text
from tests.support.chat_endpoint import completion, endpoint


def ask(url: str, request: Request, **options: object) -> Reply:
    async def one() -> Reply:
        async with Chat(url, "some-model", attempts=2, **options).connected() as line:  # type: ignore[arg-type]
            return await line.reply(request)

    return asyncio.run(one())


def test_pictures_schemas_and_further_fields_are_sent_as_openai_has_them():
    schema = {"type": "object", "properties": {}}
    request = Request(
        [picture(b"jpeg"), text("What is it?")], 99, schema=schema, system="Look.",
        more={"temperature": None, "seed": 3},
    )  # fmt: skip
    with endpoint(lambda body: "a cup") as server:
        assert ask(server.url, request) == Reply("a cup", False, 100, 20)
    [body] = server.bodies
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    [shown, asked] = body["messages"][1]["content"]
    assert base64.b64decode(shown["image_url"]["url"].removeprefix("data:image/jpeg;base64,")) == b"jpeg"
    assert asked == {"type": "text", "text": "What is it?"}
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert (body["max_tokens"], body["seed"]) == (99, 3)
    assert "temperature" not in body


def test_a_refusal_says_why_in_one_line_without_control_characters():
    said = b'{"error": {"message": "one clip\\nis \\u001b[31m answered about, %s"}}' % (b"x" * 1000)
    with endpoint(lambda body: (400, said)) as server, pytest.raises(Refused) as refused:
        ask(server.url, Request("?"))
    assert refused.value.status == 400
    assert len(server.bodies) == 1
    assert "HTTP 400: one clip is [31m answered about, xxx" in str(refused.value)
    assert len(str(refused.value)) < 300
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "body", [b"[]", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"[" * 100_000, completion(None)]
)
def test_replies_that_hold_no_text(body):
    with endpoint(lambda _: (200, body)) as server:
        assert ask(server.url, Request("?")).text == ""


def test_a_reply_that_is_cut_off_says_so():
    with endpoint(lambda _: (200, completion("half a", "length"))) as server:
        assert ask(server.url, Request("?")) == Reply("", True, 100, 20)


def test_an_address_that_is_none_is_an_error():
    with pytest.raises(ConnectionError):
        ask("http://[", Request("?"))
