"""Judges of answers in words: how close an answer is to the truth, 0 (wrong) to 3 (the same).

The parameters choose one:

    judge: {kind: rouge}
    judge: {kind: served, url: "http://localhost:8000/v1", model: Qwen/Qwen2.5-72B-Instruct}

`rouge` compares words and needs nothing; it suits short answers of a known vocabulary, as in the shapes
world. `served` asks a language model behind an OpenAI-compatible chat endpoint, as V-STaR does it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal, Protocol
from urllib.parse import urlsplit

from openo3.configuration import Positive, within
from openo3.core.prompts import Prompts
from openo3.core.reading import final_answer
from openo3.core.rouge import rouge
from openo3.core.words import folded, same_words, signs, words

Item = tuple[str, str, str]
"""`(question, truth, candidate)`."""

Unclear = tuple[str, Sequence[str], str]
"""`(question, options, answer)`, of an answer that no rule could read."""

UNPARSABLE = -1
"""The rating of an answer about which the judge said nothing that can be read; counts as wrong."""

MOST_UNREADABLE = 0.05
"""The share of ratings that may be unreadable: a judge of which more are does not measure anything."""

CORRECT = 2
"""An answer with at least this rating is correct."""

SAME = 3
"""An answer with this rating says the same as the other."""

_CANDIDATE_CHARS = 4000


class Judge(Protocol):
    """Rates candidates against truths, and says which option an answer means."""

    def rate(self, items: Sequence[Item]) -> list[int]:
        """One rating of 0-3 per item, `UNPARSABLE` where the judge gave none."""
        ...

    def choose(self, items: Sequence[Unclear]) -> list[str]:
        """The letter of the option that each answer means, "" for none, or where the judge is not asked."""
        ...


class Ratings:
    """A judge that counts how many answers it `rated`, how many of the ratings are `unreadable`, and of how
    many answers it `extracted` the option."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.rated, self.unreadable, self.extracted = judge, 0, 0, 0

    def rate(self, items: Sequence[Item]) -> list[int]:
        """See `Judge`."""
        ratings = self.judge.rate(items)
        self.rated += len(ratings)
        self.unreadable += ratings.count(UNPARSABLE)
        return ratings

    def choose(self, items: Sequence[Unclear]) -> list[str]:
        """See `Judge`."""
        letters = self.judge.choose(items)
        self.extracted += sum(map(bool, letters))
        return letters


@dataclass(frozen=True)
class JudgeParams:
    """Which judge, and for a served one where: `url` is the endpoint's base, up to and with `/v1`.

    `key_env` names the environment variable that holds the endpoint's key, if it wants one. `max_tokens`
    leaves a judge room to reason before its grade. A request takes at most `timeout_s` as a whole. With
    `extract`, the judge also says which option an answer means where no rule can tell.
    """

    kind: Literal["rouge", "served"] = "rouge"
    url: str = ""
    model: str = ""
    key_env: str = "OPENAI_API_KEY"
    concurrency: Positive = 16
    attempts: Positive = 5
    timeout_s: float = 120.0
    max_tokens: Positive = 2048
    extract: bool = False

    def __post_init__(self) -> None:
        within("timeout_s", self.timeout_s, above=0)


def load(params: JudgeParams, prompts: Prompts) -> Judge:
    """The judge that the parameters name; a served one is asked with `prompts`.

    Raises:
        ValueError: an unknown kind, a served judge without url or model, or one of words that is to extract.
    """
    if params.kind == "rouge":
        if params.extract:
            raise ValueError("judge.extract: only a served judge can say which option an answer means")
        return RougeJudge()
    if params.kind != "served":
        raise ValueError(f"judge.kind: {params.kind!r} is neither 'rouge' nor 'served'")
    if not (params.url and params.model):
        raise ValueError("judge: a served judge needs url and model")
    if not _is_http(params.url):
        raise ValueError(f"judge.url: {params.url[:80]!r}: expected an address like http://localhost:8000/v1")
    return ServedJudge(params, prompts)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, half an IPv6 address
        return False


class RougeJudge:
    """3 for the same words, fillers aside, else by the mean of ROUGE-1, -2 and -L: 2 from 0.75, 1 from 0.4.

    The bound of 0.75 is above what two answers share that differ in one of up to four words, so "the red
    cup" is no answer to "the blue cup".

    >>> RougeJudge().rate([("?", "the red cup", said) for said in ("Red cup!", "red cup here", "blue cup")])
    [3, 2, 0]
    """

    def rate(self, items: Sequence[Item]) -> list[int]:
        return [self._rate(folded(truth), folded(candidate)) for _, truth, candidate in items]

    def choose(self, items: Sequence[Unclear]) -> list[str]:
        """Nothing: words alone do not tell."""
        return [""] * len(items)

    def _rate(self, truth: str, candidate: str) -> int:
        if not candidate:
            return 0
        if same_words(truth, candidate):
            return SAME
        if signs(candidate) != signs(truth) and re.search(r"\d|[<>=]", truth):
            return 0  # -5 is not 5, nor x>0 x<0: words alone do not tell these apart
        near = rouge(words(truth), words(candidate))
        return 2 if near >= 0.75 else 1 if near >= 0.4 else 0


class ServedJudge:
    """A language model behind an OpenAI-compatible endpoint, asked about many answers at a time."""

    def __init__(self, params: JudgeParams, prompts: Prompts) -> None:
        from openo3.chat import Chat

        self.params, self.prompts = params, prompts
        self.chat = Chat(
            params.url,
            params.model,
            key_env=params.key_env,
            concurrency=params.concurrency,
            attempts=params.attempts,
            timeout_s=params.timeout_s,
            max_tokens=params.max_tokens,
        )

    def rate(self, items: Sequence[Item]) -> list[int]:
        """Ratings in the order of the items.

        Raises:
            ValueError: more than `MOST_UNREADABLE` of the ratings are unreadable.
            ConnectionError: the server refused, or could not be reached in `attempts` attempts.
        """
        texts = [
            self.prompts.grade(question, truth, candidate[:_CANDIDATE_CHARS])
            for question, truth, candidate in items
        ]
        ratings = [UNPARSABLE if said is None else said for said in self.chat.ask(texts, _readable_rating)]
        unreadable = ratings.count(UNPARSABLE)
        if unreadable:
            print(f"judge at {self.params.url}: {unreadable} of {len(items)} ratings are unreadable")
        if unreadable > MOST_UNREADABLE * len(items):
            raise ValueError(
                f"judge at {self.params.url}: {unreadable} of {len(items)} ratings are unreadable, more than "
                f"{MOST_UNREADABLE:.0%}; check judge.model, or raise judge.max_tokens"
            )
        return ratings

    def choose(self, items: Sequence[Unclear]) -> list[str]:
        """See `Judge`. Raises `ConnectionError` as `rate` does."""
        if not self.params.extract:
            return [""] * len(items)
        texts = [
            self.prompts.choose(question, options, answer[:_CANDIDATE_CHARS])
            for question, options, answer in items
        ]
        letters = self.chat.ask(texts, _readable_letter)
        known = [ascii_uppercase[: len(options)] for _, options, _ in items]
        return [
            letter if letter and letter in own else "" for letter, own in zip(letters, known, strict=True)
        ]


def parse_rating(text: str) -> int:
    """The one grade that a reply names.

    >>> [parse_rating(text) for text in ("2", " Grade: 3.", "2 or 3", "10", "no idea", "")]
    [2, 3, -1, -1, -1, -1]
    """
    grades = set(re.findall(r"(?<![\w.])-?[0-9]+(?:\.[0-9]+)?(?!\w)", final_answer(text)))
    return int(grades.pop()) if len(grades) == 1 and grades <= {"0", "1", "2", "3"} else UNPARSABLE


def _readable_rating(text: str) -> int | None:
    rating = parse_rating(text)
    return None if rating == UNPARSABLE else rating


def _readable_letter(text: str) -> str | None:
    """The letter that a reply names, "" for the word none; None if it says neither."""
    said = final_answer(text).strip(" .*\"'()[]\n")
    if said.lower() == "none":
        return ""
    return said.upper() if len(said) == 1 and said.upper() in ascii_uppercase else None
