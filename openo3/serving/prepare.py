"""From a checked request to what a decoder writes: the clip's frames, the prompt, its tokens."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Lock

from openo3.inference.asked import Asked
from openo3.inference.model import Model
from openo3.media.probe import MediaError
from openo3.model.encode import Prompt
from openo3.serving.chat import Chat
from openo3.serving.clips import Clips
from openo3.serving.decoders import Writing
from openo3.serving.errors import invalid
from openo3.serving.limits import ServingLimits


class Preparing:
    """Threads may share it."""

    def __init__(self, model: Model, clips: Clips, limits: ServingLimits) -> None:
        self.model, self.clips, self.limits = model, clips, limits
        self._tokenizer = Lock()  # it changes its settings from call to call
        self.most_tokens = model.engine.context_tokens

    def __call__(self, chat: Chat, claimed: Path | None, deadline: float) -> tuple[Asked | None, Writing]:
        """The question about its clip, and what is to be written. The clip's file is gone afterwards.

        Raises `ApiError`.
        """
        asked = self._asked(chat, claimed, deadline)
        # Without a clip there is nothing to cite
        prompt = Prompt((), None, chat.question) if asked is None else asked.prompt
        encoder = self.model.engine.encoder
        vision = encoder.vision(prompt.frames)
        with self._tokenizer:
            encoded = encoder.encode(prompt, vision)
        tokens = len(encoded.prefix_ids) + len(encoded.context_ids) + chat.sampling.max_new_tokens
        if tokens > self.most_tokens:
            raise invalid(
                f"messages: prompt and answer have up to {tokens:,} tokens, the model reads "
                f"{self.most_tokens:,}",
                "messages",
                "context_length_exceeded",
            )
        writing = Writing(prompt, encoded, chat.sampling, chat.seeded, chat.stop, watched=chat.stream)
        return asked, writing

    def _asked(self, chat: Chat, claimed: Path | None, deadline: float) -> Asked | None:
        if chat.source is None:
            return None
        with self.clips.file(chat.source, claimed, deadline) as path:
            try:
                return self.model.asked(
                    path,
                    chat.question,
                    task=chat.task,
                    plain=chat.plain,
                    longest_s=self.limits.clip_s,
                    time_limit_s=max(1.0, deadline - time.monotonic()),
                )
            except MediaError as error:
                raise invalid(f"messages: the clip: {error}", "messages", "bad_clip") from None
            except ValueError as error:  # a question that `ask` refuses
                raise invalid(f"messages: {error}", "messages") from None
