"""Judges of answers in words: how close an answer is to the truth, 0 (wrong) to 3 (the same).

The parameters choose one:

    judge: {kind: rouge}
    judge: {kind: served, url: "http://localhost:8000/v1", model: Qwen/Qwen2.5-72B-Instruct}

`rouge` compares words and needs nothing; it suits short answers of a known vocabulary, as in the shapes
world. `served` asks a language model behind an OpenAI-compatible chat endpoint, as V-STaR does it.
"""

# ruff: noqa: RUF001 (the minus sign and the like are signs to compare)

from __future__ import annotations

import json
import os
import re
import time
import unicodedata
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Literal, Protocol

from tqdm import tqdm

from openo3.core.prompts import Prompts
from openo3.core.reading import final_answer
from openo3.core.rouge import rouge

Item = tuple[str, str, str]
"""`(question, truth, candidate)`."""

UNPARSABLE = -1
"""The rating of an answer about which the judge said nothing that can be read; counts as wrong."""

MOST_UNREADABLE = 0.05
"""The share of ratings that may be unreadable: a judge of which more are does not measure anything."""

CORRECT = 2
"""An answer with at least this rating is correct."""

_FILLERS = re.compile(r"\b(a|an|the|it|is|its|there|of)\b|[^\w\s]")
_SIGNS = re.compile(
    r"(?<![\w.])[-+−](?=\s?[\d.])|[<>=≤≥≠±×÷*/^+%$€£¥°#]|(?<=\w)\s?[-−]\s?(?=\d)|(?<=\d)[.,:](?=\d)"
)
_CANDIDATE_CHARS = 4000
_REPLY_BYTES = 4_000_000


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Turns a redirect into an error, so that the key never reaches another host."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
_BUSY = (408, 429, 500, 502, 503, 504)


class Judge(Protocol):
    """Rates candidates against truths."""

    def rate(self, items: Sequence[Item]) -> list[int]:
        """One rating of 0-3 per item, `UNPARSABLE` where the judge gave none."""
        ...


class Ratings:
    """A judge that counts: how many answers it `rated`, and how many of the ratings are `unreadable`."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.rated, self.unreadable = judge, 0, 0

    def rate(self, items: Sequence[Item]) -> list[int]:
        """See `Judge`."""
        ratings = self.judge.rate(items)
        self.rated += len(ratings)
        self.unreadable += ratings.count(UNPARSABLE)
        return ratings


@dataclass(frozen=True)
class JudgeParams:
    """Which judge, and for a served one where: `url` is the endpoint's base, up to and with `/v1`.

    `key_env` names the environment variable that holds the endpoint's key, if it wants one. `max_tokens`
    leaves a judge room to reason before its grade.
    """

    kind: Literal["rouge", "served"] = "rouge"
    url: str = ""
    model: str = ""
    key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    attempts: int = 5
    timeout_s: float = 120.0
    max_tokens: int = 2048


def load(params: JudgeParams, prompts: Prompts) -> Judge:
    """The judge that the parameters name; a served one is asked with `prompts`.

    Raises:
        ValueError: an unknown kind, or a served judge without url or model.
    """
    if params.kind == "rouge":
        return RougeJudge()
    if params.kind != "served":
        raise ValueError(f"judge.kind: {params.kind!r} is neither 'rouge' nor 'served'")
    if not (params.url and params.model):
        raise ValueError("judge: a served judge needs url and model")
    return ServedJudge(params, prompts)


class RougeJudge:
    """3 for the same words, fillers aside, else by the mean of ROUGE-1, -2 and -L: 2 from 0.75, 1 from 0.4.

    The bound of 0.75 is above what two answers share that differ in one of up to four words, so "the red
    cup" is no answer to "the blue cup".

    >>> RougeJudge().rate([("?", "the red cup", said) for said in ("Red cup!", "red cup here", "blue cup")])
    [3, 2, 0]
    """

    def rate(self, items: Sequence[Item]) -> list[int]:
        return [self._rate(_folded(truth), _folded(candidate)) for _, truth, candidate in items]

    def _rate(self, truth: str, candidate: str) -> int:
        if not candidate:
            return 0
        same = _words(candidate) == _words(truth) != "" and _signs(candidate) == _signs(truth)
        if candidate == truth or same:
            return 3
        if _signs(candidate) != _signs(truth) and re.search(r"\d|[<>=]", truth):
            return 0  # -5 is not 5, nor x>0 x<0: words alone do not tell these apart
        near = rouge(_words(truth), _words(candidate))
        return 2 if near >= 0.75 else 1 if near >= 0.4 else 0


class ServedJudge:
    """A language model behind an OpenAI-compatible endpoint, asked about many answers at a time."""

    def __init__(self, params: JudgeParams, prompts: Prompts) -> None:
        self.params, self.prompts = params, prompts
        self.url = params.url.rstrip("/") + "/chat/completions"

    def rate(self, items: Sequence[Item]) -> list[int]:
        """Ratings in the order of the items; a busy or absent server is tried again, ever later.

        Raises:
            ValueError: more than `MOST_UNREADABLE` of the ratings are unreadable.
            ConnectionError: the server refused, or could not be reached in `attempts` attempts.
        """
        with ThreadPoolExecutor(self.params.concurrency) as pool:
            ratings = list(tqdm(pool.map(self._rate, items), "judge", len(items), disable=None))
        unreadable = ratings.count(UNPARSABLE)
        if unreadable:
            print(f"judge at {self.url}: {unreadable} of {len(items)} ratings are unreadable")
        if unreadable > MOST_UNREADABLE * len(items):
            raise ValueError(
                f"judge at {self.url}: {unreadable} of {len(items)} ratings are unreadable, more than "
                f"{MOST_UNREADABLE:.0%}; check judge.model, or raise judge.max_tokens"
            )
        return ratings

    def _rate(self, item: Item) -> int:
        question, truth, candidate = item
        text = self.prompts.grade(question, truth, candidate[:_CANDIDATE_CHARS])
        body = {"model": self.params.model, "temperature": 0, "max_tokens": self.params.max_tokens}
        body["messages"] = [{"role": "user", "content": text}]
        rating = parse_rating(self._ask(body))
        if rating == UNPARSABLE:  # an empty reply, or one that was cut off: again, with more room
            rating = parse_rating(self._ask({**body, "max_tokens": 2 * self.params.max_tokens}))
        return rating

    def _ask(self, body: dict) -> str:
        """The text that the model replies; empty if the server's reply holds none."""
        for attempt in range(self.params.attempts):
            if attempt:
                time.sleep(min(2**attempt / 4, 30))
            try:
                with _OPENER.open(self._request(body), timeout=self.params.timeout_s) as reply:
                    return _content(reply.read(_REPLY_BYTES))
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code} {error.reason}"
                if error.code not in _BUSY:
                    break
            except (OSError, HTTPException) as error:  # refused, reset, timed out, cut off, unknown host
                problem = str(error)
        raise ConnectionError(f"judge at {self.url}: {problem}")

    def _request(self, body: dict) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.params.key_env):
            headers["Authorization"] = f"Bearer {key}"
        return urllib.request.Request(self.url, json.dumps(body).encode(), headers)


def parse_rating(text: str) -> int:
    """The one grade that a reply names.

    >>> [parse_rating(text) for text in ("2", " Grade: 3.", "2 or 3", "10", "no idea", "")]
    [2, 3, -1, -1, -1, -1]
    """
    grades = set(re.findall(r"(?<![\w.])-?[0-9]+(?:\.[0-9]+)?(?!\w)", final_answer(text)))
    return int(grades.pop()) if len(grades) == 1 and grades <= {"0", "1", "2", "3"} else UNPARSABLE


def _folded(text: str) -> str:
    """A text without differences of case, width and composition."""
    return unicodedata.normalize("NFKC", text).strip().lower()


def _signs(text: str) -> list[str]:
    """The signs of a text that change what it says: of numbers, of relations, of units."""
    return [sign.strip().replace("−", "-") for sign in _SIGNS.findall(text)]


def _words(text: str) -> str:
    """The words of a lower-case text that carry meaning."""
    return " ".join(_FILLERS.sub(" ", text).split())


def _content(reply: bytes) -> str:
    """`choices[0].message.content` of a chat completion, empty for one that was cut off."""
    try:
        choice = json.loads(reply)["choices"][0]
        content = "" if choice.get("finish_reason") == "length" else choice["message"]["content"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    return content if isinstance(content, str) else ""
