"""What the model sees of a clip, decoded in a process of its own that imports no more than this module."""

from __future__ import annotations

from openo3.media.decode import DecodedVideo, SamplingConfig, sample
from openo3.media.probe import Media, MediaError, probe


def look(job: tuple[str, SamplingConfig, float | None]) -> tuple[Media, DecodedVideo]:
    """The facts of a file, and the frames that the model sees of it.

    Raises `MediaError`, also for a video of more seconds than the job's third part, if that is given.
    """
    path, policy, longest_s = job
    media = probe(path)
    if longest_s is not None and (media.duration_s or 0.0) > longest_s:
        raise MediaError("too long", f"{media.duration_s:.0f} s, at most {longest_s:g} s")
    return media, sample(path, [], policy)
