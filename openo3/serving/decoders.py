"""Engines that write many answers at once, one token of each or all of a batch at a time.

decoder = decoder_of(engine, concurrent=16)
decoder.join([job])
decoder.step()          job.texts, job.tokens and job.finish have grown
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from openo3.model.continuous import ContinuousBatch, Row
from openo3.model.decoding import Sampling
from openo3.model.encode import Encoded, Prompt
from openo3.model.engine import Engine, LocalEngine

STEPS_BETWEEN_JOINS = 8
"""Reading a prompt holds up all answers, and several prompts are read faster together than one by one."""

Finish = Literal["stop", "length"]


@dataclass(eq=False)
class Writing:
    """A prompt and the answers to it so far: text, number of tokens and why it ended, `None` if it did not.

    `watched`: texts are wanted after every token, not only in the end.
    """

    prompt: Prompt
    encoded: Encoded
    sampling: Sampling
    seeded: bool = True
    stop: tuple[str, ...] = ()
    watched: bool = False
    texts: list[str] = field(init=False)
    tokens: list[int] = field(init=False)
    finish: list[Finish | None] = field(init=False)

    def __post_init__(self) -> None:
        n = self.sampling.n
        self.texts, self.tokens, self.finish = [""] * n, [0] * n, [None] * n

    @property
    def done(self) -> bool:
        return None not in self.finish

    def say(self, number: int, text: str, tokens: int, ended: Finish | None) -> bool:
        """Set an answer's text so far. True if one of the stop texts ended it."""
        at = min((found for stop in self.stop if (found := text.find(stop)) >= 0), default=-1)
        self.texts[number], self.tokens[number] = text[:at] if at >= 0 else text, tokens
        self.finish[number] = "stop" if at >= 0 else ended
        return at >= 0


class Decoder(Protocol):
    """Used by one thread."""

    @property
    def writing(self) -> Sequence[Writing]:
        """What is being written."""
        ...

    def room_for(self, more: Sequence[Writing]) -> bool:
        """Whether these can join what is being written."""
        ...

    def join(self, more: Sequence[Writing]) -> None:
        """Write these too."""

    def step(self) -> None:
        """Go on with everything; what is done leaves."""

    def leave(self, writing: Writing) -> None:
        """Write no more of this one."""


def decoder_of(engine: Engine, concurrent: int) -> Decoder:
    """Continuous batching with a local engine, whole batches with any other."""
    if isinstance(engine, LocalEngine):
        return Continuous(engine, concurrent)
    return Batches(engine, concurrent)


class Continuous:
    """A local engine: requests join between two tokens of the others."""

    def __init__(self, engine: LocalEngine, concurrent: int) -> None:
        self.batch = ContinuousBatch(engine.model, engine.encoder)
        self.encoder, self.concurrent = engine.encoder, concurrent
        self.tokens_per_batch = engine.tokens_per_batch
        self.rows: dict[Writing, Row] = {}
        self._steps = 0  # since rows joined

    @property
    def writing(self) -> list[Writing]:
        return list(self.rows)

    def room_for(self, more: Sequence[Writing]) -> bool:
        """By answers, by the tokens of the prompts that are read at once, and not after every step."""
        if self.rows and self._steps < STEPS_BETWEEN_JOINS:
            return False
        answers = sum(one.sampling.n for one in [*self.rows, *more])
        longest = max(len(one.encoded.prefix_ids) for one in more)
        fits = longest * len(more) <= self.tokens_per_batch or len(more) == 1
        return fits and (answers <= self.concurrent or len(self.rows) + len(more) == 1)

    def join(self, more: Sequence[Writing]) -> None:
        rows = [Row(one.encoded, one.sampling) for one in more]
        self.batch.join(rows)
        self.rows.update(zip(more, rows, strict=True))
        self._steps = 0

    def step(self) -> None:
        self.batch.step()
        self._steps += 1
        for writing, row in list(self.rows.items()):
            self._read(writing, row)
            if row.done:
                del self.rows[writing]

    def leave(self, writing: Writing) -> None:
        if writing in self.rows:
            self.batch.leave(self.rows.pop(writing))

    def _read(self, writing: Writing, row: Row) -> None:
        for number, generation in enumerate(row.written):
            if writing.finish[number] is not None:
                continue
            ended: Finish | None = None
            if number not in row.open:
                ended = "stop" if generation.ids[-1] in self.encoder.end_ids else "length"
            if ended is None and not (writing.watched or writing.stop):
                continue
            text = self.encoder.decode(generation.ids)
            if writing.say(number, text, len(generation.ids), ended) and ended is None:
                self.batch.close(row, number)


class Batches:
    """Any engine that answers whole batches: requests that come meanwhile form the next one.

    Requests share a batch if they are sampled alike. Texts appear once a batch is done.
    """

    def __init__(self, engine: Engine, concurrent: int) -> None:
        self.engine, self.concurrent = engine, concurrent
        self._writing: list[Writing] = []

    @property
    def writing(self) -> list[Writing]:
        return self._writing

    def room_for(self, more: Sequence[Writing]) -> bool:
        if self._writing or any(_alike(one) != _alike(more[0]) for one in more):
            return False
        return len(more) == 1 or sum(one.sampling.n for one in more) <= self.concurrent

    def join(self, more: Sequence[Writing]) -> None:
        self._writing += more

    def step(self) -> None:
        if not self._writing:
            return
        batch, self._writing = self._writing, []
        sampling = batch[0].sampling
        for writing, texts in zip(
            batch, self.engine.generate([one.prompt for one in batch], sampling), strict=True
        ):
            for number, text in enumerate(texts):
                # The ending token is not part of a text
                tokens = len(self.engine.encoder.tokenizer(text, add_special_tokens=False).input_ids) + 1
                ended: Finish = "length" if tokens > sampling.max_new_tokens else "stop"
                writing.say(number, text, min(tokens, sampling.max_new_tokens), ended)

    def leave(self, writing: Writing) -> None:
        if writing in self._writing:
            self._writing.remove(writing)


def _alike(writing: Writing) -> tuple[Sampling, bool]:
    """Requests without a seed of their own may share another's."""
    sampling = writing.sampling
    return (sampling, True) if writing.seeded else (replace(sampling, seed=0), False)
