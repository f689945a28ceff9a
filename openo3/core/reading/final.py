"""Which part of a completion is its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TAG = re.compile(r"<\s{0,4}(/?)\s{0,4}(think|thinking|answer)\s{0,4}>", re.IGNORECASE)
_END_TOKEN = re.compile(r"<\|[a-z_]{1,20}\|>")


def final_answer(text: str) -> str:
    """The answer of a completion, without its reasoning.

    The last complete `<answer>` after the reasoning, else an `<answer>` that is cut off, else the text after
    the last `</think>`, else the text. Reasoning that is cut off has no answer.

    >>> final_answer("<think>First <answer>A</answer>, but no</think><answer>B</answer>")
    'B'
    """
    return answer_by_rule(text)[0]


def answer_by_rule(text: str) -> tuple[str, str]:
    """The answer of a completion and the rule that found it.

    Rules: `answer` (an `<answer>` block, complete or cut off), `after` (what follows the reasoning), `whole`
    (the text, which has no reasoning).
    """
    tags = [(found.start(), found.end(), found[1] + found[2].lower()[:5]) for found in _TAG.finditer(text)]
    closed = max((index for index, tag in enumerate(tags) if tag[2] == "/think"), default=-1)
    after = tags[closed + 1 :]
    begin = tags[closed][1] if closed >= 0 else 0
    opened = next((index for index, tag in enumerate(after) if tag[2] == "think"), None)
    end = len(text)
    if opened is not None:
        unclosed = after[opened][0]
        if _has_answer(after[:opened]) or text[begin:unclosed].strip():
            end, after = unclosed, after[:opened]
        else:  # reasoning that is never closed: only an answer that ends the text is one
            said = _last_answer(text, after, end)
            last = after[-1]
            return _found(said if last[2] == "/answe" and not _tidy(text[last[1] :]) else "", "answer")
    if closed >= 0 and not after and not _tidy(text[begin:end]):
        first = next((index for index, tag in enumerate(tags) if tag[2] == "think"), 0)
        said = _last_answer(text, tags[:first], tags[first][0])  # the reasoning follows the answer
        return _found(said, "answer")
    said = _last_answer(text, after, end)
    if said or _has_answer(after):
        return _found(said, "answer")
    return _found(_tidy(_TAG.sub("", text[begin:end])), "after" if closed >= 0 else "whole")


def _found(said: str, rule: str) -> tuple[str, str]:
    return said, rule if said else ""


def _has_answer(tags: Sequence[tuple[int, int, str]]) -> bool:
    return any(name == "answe" for _, _, name in tags)


def _last_answer(text: str, tags: Sequence[tuple[int, int, str]], end: int) -> str:
    """The last complete block that is not empty, else the one that is cut off at `end`."""
    said, opened = "", None
    for start, stop, name in tags:
        if name == "answe":
            opened = stop
        elif name == "/answe" and opened is not None:
            said, opened = _tidy(text[opened:start]) or said, None
    return said or (_tidy(text[opened:end]) if opened is not None else "")


def _tidy(text: str) -> str:
    return _END_TOKEN.sub("", text).strip()
