"""Answers and chunks as OpenAI's clients read them, each choice with `evidence` beside its text."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from openo3.inference.asked import Asked
from openo3.inference.evidence_json import growing_json
from openo3.serving.decoders import Writing

DONE = "data: [DONE]\n\n"
_UNFINISHED = "\ufffd"  # what a character looks like whose last bytes are still missing


@dataclass
class Reply:
    """One reply. `asked` is `None` for a question without a clip, which has no evidence."""

    model: str
    asked: Asked | None
    writing: Writing
    id: str = field(default_factory=lambda: f"chatcmpl-{token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self) -> dict[str, Any]:
        """The object `chat.completion` once everything is written."""
        choices = [
            {
                "index": number,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "finish_reason": self.writing.finish[number],
                "logprobs": None,
                "evidence": self.evidence(number),
            }
            for number, text in enumerate(self.writing.texts)
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": self.usage()}

    def usage(self) -> dict[str, int]:
        """Frames count as the tokens that they take in the prompt."""
        encoded = self.writing.encoded
        read, written = len(encoded.prefix_ids) + len(encoded.context_ids), sum(self.writing.tokens)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def evidence(self, number: int) -> dict[str, Any] | None:
        """The JSON of `openo3 ask --json` and the facts of the clip; boxes in both spaces."""
        if self.asked is None:
            return None
        answer = self.asked.answer(self.writing.texts[number], self.writing.sampling)
        # Where its folder lies on the server is nobody's business
        return {**answer.to_json(), "model": self.model, "media": self._media(self.asked)}

    def evidence_so_far(self, text: str) -> dict[str, Any] | None:
        """The same for an unfinished text, without how it was asked."""
        if self.asked is None:
            return None
        asked = self.asked
        found = growing_json(text, asked.space, asked.media.size)
        return {"question": asked.question, **found, "votes": [], "media": self._media(asked)}

    @staticmethod
    def _media(asked: Asked) -> dict[str, Any]:
        """What the player needs to know of a clip that it has."""
        media = asked.media
        return {"kind": media.kind, "size": list(media.size), "duration_s": media.duration_s}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": None,
        }

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> str:
        """One server-sent event."""
        return event({**self._head("chat.completion.chunk"), "choices": choices, **more})


class Stream:
    """The chunks of a reply: what is new since the last time.

    `every_chunk` carries the evidence so far, not only one whose text closes a claim.
    """

    def __init__(self, reply: Reply, *, include_usage: bool = False, every_chunk: bool = False) -> None:
        self.reply, self.include_usage, self.every_chunk = reply, include_usage, every_chunk
        n = len(reply.writing.texts)
        self.sent, self.ended, self.closed = [""] * n, [False] * n, [0] * n

    def begin(self) -> str:
        """The role of every choice."""
        delta = {"role": "assistant", "content": ""}
        return self.reply.chunk([_choice(number, delta) for number in range(len(self.sent))])

    def grow(self) -> str:
        """New text, and the evidence of an answer that closed another claim or ended; may be empty."""
        pieces = []
        for number in range(len(self.sent)):
            if self.ended[number]:
                continue
            finish = self.reply.writing.finish[number]  # read first: the text is complete before it is set
            text = self.reply.writing.texts[number]
            settled = text if finish else text[: settled_length(text, self.reply.writing.stop)]
            new = settled[len(self.sent[number]) :]
            self.sent[number] = settled
            choice = _choice(number, {"content": new} if new else {}, finish)
            if finish:
                self.ended[number] = True
                choice["evidence"] = self.reply.evidence(number)
            elif new and (self.every_chunk or self._closed(settled) > self.closed[number]):
                self.closed[number] = self._closed(settled)
                choice["evidence"] = self.reply.evidence_so_far(settled)
            if new or finish:
                pieces.append(choice)
        return self.reply.chunk(pieces) if pieces else ""

    def _closed(self, text: str) -> int:
        """How many claims are complete: in videos with their time."""
        still = self.reply.asked is not None and self.reply.asked.video.duration_s is None
        return text.count("</box>" if still else "</t>s")

    def end(self) -> str:
        usage = self.reply.chunk([], usage=self.reply.usage()) if self.include_usage else ""
        return usage + DONE


def event(value: dict[str, Any]) -> str:
    """A server-sent event with a JSON value."""
    return f"data: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n"


def comment(text: str) -> str:
    """A line that clients skip."""
    return f": {text}\n\n"


def settled_length(text: str, stops: tuple[str, ...]) -> int:
    """How much of a growing text stays: all but an incomplete character and what may become a stop text.

    >>> settled_length("one EN", ("END",)), settled_length("one END?", ("END",))
    (4, 8)
    """
    end = len(text.rstrip(_UNFINISHED))
    for stop in stops:
        for length in range(min(len(stop) - 1, end), 0, -1):
            if text.endswith(stop[:length], 0, end):
                end -= length
                break
    return end


def _choice(number: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": number, "delta": delta, "finish_reason": finish, "logprobs": None}
