"""The word judge by example; the served judge against a real server on this machine."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openo3 import chat
from openo3.benchmarks import judges
from openo3.benchmarks.judges import JudgeParams, Ratings, RougeJudge, parse_rating
from openo3.benchmarks.videomme import VIDEOMME
from openo3.core.geometry import RELATIVE_1000
from openo3.prompt_file import default_prompts


@pytest.mark.parametrize(
    ("truth", "candidate", "rating"),
    [
        ("the red cup", "A red cup.", 3),
        ("It is a red cup", "red cup", 3),
        ("the red cup", "the blue cup", 0),
        ("small bright red cup", "small bright red bowl", 1),
        ("red cup", "red cup here", 2),
        ("red cup", "", 0),
        ("there", "There ", 3),  # of fillers alone
        ("there", "it is", 0),
        ("一个红杯", "一个红杯", 3),
        ("red cup", "cup " * 300_000, 0),
        ("蓝色的车", "蓝色的车。", 3),
        ("파란 자동차", "파란 자동차!", 3),
        ("синяя машина", "Синяя машина", 3),
        ("12", "\uff11\uff12", 3),
        ("-7", "7", 0),
        ("-7", "\u22127", 3),
        ("y<2", "y>2", 0),
        ("n+3", "n-3", 0),
        ("30%", "$30", 0),
        ("1.5", "15", 0),
        ("30%", "It is 30%.", 3),
    ],
)
def test_words(truth, candidate, rating):
    assert RougeJudge().rate([("What?", truth, candidate)]) == [rating]


@contextmanager
def served(replies):
    """A chat endpoint: `replies(text, count)` gives status and body; yields its url and the requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, self.headers["Authorization"], body))
            status, reply = replies(body["messages"][-1]["content"], len(requests))
            self.send_response(status)
            if status == 307:
                self.send_header("Location", f"http://localhost:{self.server.server_port}/elsewhere")
            self.end_headers()
            for piece in [reply] if isinstance(reply, bytes) else reply:
                self.wfile.write(piece)
                self.wfile.flush()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()


def says(text):
    return 200, json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def judge(url, **options):
    return judges.load(
        JudgeParams(kind="served", url=url, model="some-model", attempts=3, **options), default_prompts()
    )


def test_a_served_judge_answers_in_order(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    with served(lambda text, _: says(text.split("Candidate: ")[1][0])) as (url, requests):
        items = [("What?", "a cup", f"{digit} cups") for digit in "3120" * 10]
        assert judge(url, key_env="SOME_KEY").rate(items) == [3, 1, 2, 0] * 10
    path, key, body = requests[0]
    assert (path, key, body["model"], body["temperature"]) == (
        "/v1/chat/completions",
        "Bearer secret",
        "some-model",
        0,
    )
    assert all(part in body["messages"][0]["content"] for part in ("What?", "a cup", "cups"))


def test_a_busy_server_is_asked_again():
    with served(lambda _, count: says("2") if count > 2 else (503, b"busy")) as (url, requests):
        assert judge(url).rate([("?", "a", "b")]) == [2]
    assert len(requests) == 3


@pytest.mark.parametrize("reply", [says("I cannot say"), (200, b"not JSON"), (200, b"[]"), says(None)])
def test_replies_without_a_grade(reply):
    with served(lambda *_: reply) as (url, _), pytest.raises(ValueError, match="2 of 2 ratings are unread"):
        judge(url).rate([("?", "a", "b"), ("?", "a", "c")])


def test_an_unreadable_reply_is_asked_for_again_with_more_room_then_counted(capsys):
    def reply(text, _):
        return says(None if "Candidate: lost" in text else "3")

    with served(reply) as (url, requests):
        ratings = judge(url).rate([("?", "a", "lost")] + [("?", "a", "b")] * 19)
    assert ratings == [-1] + [3] * 19
    assert sorted({body["max_tokens"] for *_, body in requests}) == [2048, 4096]
    assert "1 of 20 ratings are unreadable" in capsys.readouterr().out


def test_a_refusal_is_an_error_at_once():
    with served(lambda *_: (401, b"no key")) as (url, requests):
        with pytest.raises(ConnectionError, match="HTTP 401"):
            judge(url).rate([("?", "a", "b")])
        assert len(requests) == 1


def test_a_redirect_is_refused_and_never_gets_the_key(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    with served(lambda *_: (307, b"")) as (url, requests):
        with pytest.raises(ConnectionError, match="HTTP 307"):
            judge(url, key_env="SOME_KEY").rate([("?", "a", "b")])
        assert len(requests) == 1


def test_a_reply_that_takes_too_long_as_a_whole_is_an_error():
    """A byte now and then: no single read of the socket takes long."""

    def drip(*_):
        def content():
            for _ in range(40):
                time.sleep(0.05)
                yield b" "

        return 200, content()

    with served(drip) as (url, _), pytest.raises(ConnectionError, match=r"no reply in 0\.3 s"):
        judge(url, timeout_s=0.3).rate([("?", "a", "b")])


def test_a_reply_that_is_too_long_is_unreadable(monkeypatch):
    monkeypatch.setattr(chat, "REPLY_BYTES", 1000)
    with served(lambda *_: says("3" + " " * 2000)) as (url, requests):
        with pytest.raises(ValueError, match="1 of 1 ratings are unreadable"):
            judge(url).rate([("?", "a", "b")])
        assert len(requests) == 2


def test_a_judge_says_which_option_an_answer_means():
    """Only where no rule can tell and the parameters ask for it; `none` and unknown letters are no option."""

    def reply(text, _):
        said = text.split("Answer: ")[1].splitlines()[0]
        return says({"the dark one": "<think>A?</think>B", "who knows": "none"}.get(said, "E"))

    record = {"id": "1", "question": "Which?", "options": ["red", "blue"], "answer": "B", "group": "short"}
    texts = ["the dark one", "who knows", "the other one", "A", "<think>so</think>"]
    results = [VIDEOMME.result({**record, "media": t}, {"which": t}, RELATIVE_1000) for t in texts]
    with served(reply) as (url, requests):
        plain, extracting = Ratings(judge(url)), Ratings(judge(url, extract=True))
        assert [record["said"] for record in VIDEOMME.rate(results, plain)] == ["", "", "", "A", ""]
        assert requests == []
        rated = VIDEOMME.rate(results, extracting)
    assert [record["said"] for record in rated] == ["B", "", "", "A", ""]
    assert [record["correct"] for record in rated] == [1, 0, 0, 0, 0]
    assert [record["read"]["which"] for record in rated] == ["judge", "", "", "alone", ""]
    assert (plain.extracted, extracting.extracted) == (0, 1)
    assert all("A. red\nB. blue" in body["messages"][0]["content"] for *_, body in requests)
    assert len(requests) == 3


def test_no_server_is_an_error():
    with pytest.raises(ConnectionError, match="judge at http://127"):
        judge("http://127.0.0.1:9").rate([("?", "a", "b")])


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("3", 3),
        ("**2**", 2),
        ("4", -1),
        ("2.5", -1),
        ("-1", -1),
        ("1, not 2", -1),
        ("2-3", -1),
        ("3/3", 3),
        ("<think>1 or 2</think>2", 2),
        ("<think>2, as", -1),
    ],
)
def test_ratings(text, rating):
    assert parse_rating(text) == rating


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        (JudgeParams(kind="oracle"), "oracle"),
        (JudgeParams(extract=True), "judge.extract: only a served judge"),
        (JudgeParams(kind="served", url="http://x"), "url and model"),
    ],
)
def test_impossible_judges(params, problem):
    with pytest.raises(ValueError, match=problem):
        judges.load(params, default_prompts())
