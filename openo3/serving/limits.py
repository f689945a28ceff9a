"""What one request may cost, and how many requests there may be."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class ServingLimits:
    """
    Args:
        concurrent: answers written at the same time.
        queued: requests that wait for their turn; further ones get status 429.
        request_mb: a request's body, in MB, unless it uploads a file.
        clip_mb: an uploaded or fetched file, in MB.
        clip_s: the length of a video, in seconds.
        question_chars: the text of a question.
        max_tokens: tokens of one answer, also where a request does not say.
        answers: the most that one request may ask for (`n`).
        time_s: seconds from the request to the end of its answer.
        body_s: seconds that a client may take to send its request.
        uploads: uploaded files that no question has been asked about yet.
        upload_s: seconds after which such a file is deleted.
        preparing: clips that are decoded at the same time.
    """

    concurrent: int = 16
    queued: int = 32
    request_mb: float = 32.0
    clip_mb: float = 256.0
    clip_s: float = 600.0
    question_chars: int = 8000
    max_tokens: int = 768
    answers: int = 8
    time_s: float = 300.0
    body_s: float = 60.0
    uploads: int = 16
    upload_s: float = 600.0
    preparing: int = 2

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, must be a number greater than 0")

    @property
    def request_bytes(self) -> int:
        return int(self.request_mb * 1e6)

    @property
    def clip_bytes(self) -> int:
        return int(self.clip_mb * 1e6)
