"""Find a file by the longest matching end of its path, or a clip by its name.

Benchmarks publish paths as on their authors' machines (`./dataset/x/videos/A.mp4`). Only the end of such a
path matches another user's folder or archive. Others publish the name of a clip alone (`A`), whatever its
container.
"""

from __future__ import annotations

from collections.abc import Iterable

from openo3.media.suffixes import VIDEO_SUFFIXES


def shared_suffix_length(one: str, other: str) -> int:
    """The number of path components that two paths share at their ends.

    >>> shared_suffix_length("a/b/c.mp4", "x/b/c.mp4")
    2
    """
    pairs = list(zip(reversed(one.split("/")), reversed(other.split("/")), strict=False))
    return next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))


def clip_name(path: str) -> str:
    """The path of a video without its ending; any other path as it is.

    >>> clip_name("b/v_1.2.MKV"), clip_name("b/v_1.2")
    ('b/v_1.2', 'b/v_1.2')
    """
    stem, dot, ending = path.rpartition(".")
    return stem if f"{dot}{ending}".lower() in VIDEO_SUFFIXES else path


class PathSuffixIndex:
    """Paths indexed by file name, and the videos among them by their name without its ending."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        self._clips: dict[str, list[str]] = {}
        for path in sorted(paths):
            name = path.rpartition("/")[2]
            self._by_name.setdefault(name, []).append(path)
            if (clip := clip_name(name)) != name:
                self._clips.setdefault(clip, []).append(path)

    def find(self, wanted: str) -> list[str]:
        """The paths that share the longest end with `wanted`, at least the file name; several if they tie."""
        named = self._by_name.get(wanted.rpartition("/")[2], [])
        longest = max((shared_suffix_length(path, wanted) for path in named), default=0)
        return [path for path in named if shared_suffix_length(path, wanted) == longest]

    def find_clip(self, wanted: str) -> list[str]:
        """The videos called `wanted`, whose ending does not count: those at its path, else as `find`."""
        wanted = clip_name(wanted)
        named = {path: clip_name(path) for path in self._clips.get(wanted.rpartition("/")[2], [])}
        if there := [path for path, clip in named.items() if clip == wanted]:
            return there
        longest = max((shared_suffix_length(clip, wanted) for clip in named.values()), default=0)
        return [path for path, clip in named.items() if shared_suffix_length(clip, wanted) == longest]
