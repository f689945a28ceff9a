"""What a model says about a clip, with the evidence that it cites."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from openo3.core.evidence import Claim, Completion
from openo3.core.geometry import Span
from openo3.core.reading import final_answer
from openo3.files.artifacts import atomic_file
from openo3.inference.evidence_json import cited_claims, evidence_json
from openo3.inference.transcript import readable
from openo3.media.probe import Media
from openo3.player import movie
from openo3.player.clip import embedded
from openo3.player.page import page
from openo3.player.viewing import embedded_page, in_notebook, open_in_browser, show_in_notebook

PAGES = (".html", ".htm")


@dataclass(frozen=True)
class Vote:
    """An answer and how many of the sampled completions gave it."""

    answer: str
    count: int


@dataclass(frozen=True)
class Answer:
    """One answer about one clip.

    `completion` is the model's text, parsed; `path` and `media` are the clip and its facts. `frame_times_s`
    are the times in seconds of the frames that the model saw. `model` is the model's folder, `protocol` how
    it was asked. `votes` are empty unless several completions were sampled; `completion` is then the first
    one that gives the winning answer.
    """

    question: str
    completion: Completion
    path: Path
    media: Media
    frame_times_s: tuple[float, ...]
    model: str
    protocol: Mapping[str, Any]
    votes: tuple[Vote, ...] = ()

    @property
    def answer(self) -> str:
        """The answer as evaluation reads it, without the reasoning; see `final_answer`."""
        return final_answer(self.completion.text)

    @property
    def reasoning(self) -> str | None:
        """The text inside `<think>` with its evidence tags; `None` if there is none."""
        return self.completion.reasoning

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """Every claim of the reasoning and the answer once, in the order of the text.

        Boxes are normalised 0-1 of the frame; times are seconds, `None` in images.
        """
        return cited_claims(self.reasoning, self.answer, self.completion.space)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The `(start_s, end_s)` that the answer names, at most one."""
        span = self.completion.answer_span
        return () if span is None else (span,)

    def to_json(self) -> dict[str, Any]:
        """The answer as plain JSON values; see `evidence_json`.

        Boxes are given both normalised 0-1 and in source pixels.
        """
        return {
            "question": self.question,
            **evidence_json(self.completion.text, self.completion.space, self.media.size),
            "votes": [{"answer": vote.answer, "count": vote.count} for vote in self.votes],
            "model": self.model,
            "protocol": dict(self.protocol),
        }

    def __str__(self) -> str:
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False)

    def readable(self, *, reasoning: bool = True) -> str:
        """Reasoning and answer in plain words; boxes are in source pixels, times in seconds."""
        said = [self.reasoning] if self.reasoning and reasoning else []
        size = self.media.size
        texts = [readable(text, self.completion.space, size) for text in (*said, f"Answer: {self.answer}")]
        return "\n\n".join(texts)

    def html(self, *, small: bool = False) -> str:
        """A page that plays the clip with its evidence and needs no network.

        With `small` it holds a copy of the clip of at most 480 pixels a side.

        Raises:
            TooLarge: the clip does not fit into a page.
            MediaError: the clip cannot be converted for browsers.
        """
        return page({**self.to_json(), "media": embedded(self.path, self.media, small=small)})

    def save(self, path: str | os.PathLike[str], *, small: bool = False) -> Path:
        """Write the page (`.html`), or a movie of it (`.mp4`, `.gif`), as the file's name says.

        Raises:
            ValueError: the name has another ending, or the file would be too large.
            MediaError: the clip cannot be converted.
        """
        file = Path(path)
        ending = file.suffix.lower()
        if ending not in (*PAGES, *movie.ENDINGS):
            raise ValueError(f"{file}: expected a name that ends in .html, .gif or .mp4")
        if ending in PAGES:
            text = self.html(small=small)
            with atomic_file(file) as part:
                part.write_text(text, encoding="utf-8")
        else:
            movie.write(file, self.to_json(), self.path, self.media)
        return file

    def show(self) -> None:
        """Show the player: below the cell in a notebook, else in the browser, from a temporary file.

        Elsewhere the text is printed too, with the name of the file.
        """
        if in_notebook():
            show_in_notebook(self)
            return
        file = self.save(Path(tempfile.mkdtemp(prefix="openo3-"), "answer.html"))
        print(f"{self.readable()}\n\n{file}")
        open_in_browser(file)

    def _repr_html_(self) -> str:
        return embedded_page(self.html())
