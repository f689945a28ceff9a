"""Find a file by the longest matching end of its path.

Benchmarks publish paths as on their authors' machines (`./dataset/x/videos/A.mp4`). Only the end of such a
path matches another user's folder or archive.
"""

from __future__ import annotations

from collections.abc import Iterable


def shared_suffix_length(one: str, other: str) -> int:
    """The number of path components that two paths share at their ends.

    >>> shared_suffix_length("a/b/c.mp4", "x/b/c.mp4")
    2
    """
    pairs = list(zip(reversed(one.split("/")), reversed(other.split("/")), strict=False))
    return next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))


class PathSuffixIndex:
    """Paths indexed by file name."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for path in sorted(paths):
            self._by_name.setdefault(path.rpartition("/")[2], []).append(path)

    def find(self, wanted: str) -> list[str]:
        """The paths that share the longest end with `wanted`, at least the file name; several if they tie."""
        named = self._by_name.get(wanted.rpartition("/")[2], [])
        longest = max((shared_suffix_length(path, wanted) for path in named), default=0)
        return [path for path in named if shared_suffix_length(path, wanted) == longest]
