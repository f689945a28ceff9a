"""Finding a file by the longest matching end of its path.

Benchmarks publish paths of their authors' machines (`./dataset/x/videos/A.mp4`), of which only the end agrees
with a folder or an archive of somebody else.
"""

from __future__ import annotations

from collections.abc import Iterable


def shared(one: str, other: str) -> int:
    """How many parts two paths have in common at their ends.

    >>> shared("a/b/c.mp4", "x/b/c.mp4")
    2
    """
    pairs = list(zip(reversed(one.split("/")), reversed(other.split("/")), strict=False))
    return next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))


class Endings:
    """Paths by the name of their file."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for path in sorted(paths):
            self._by_name.setdefault(path.rpartition("/")[2], []).append(path)

    def find(self, wanted: str) -> list[str]:
        """The paths that share the longest end with `wanted`, at least its name; several if they tie."""
        named = self._by_name.get(wanted.rpartition("/")[2], [])
        most = max((shared(path, wanted) for path in named), default=0)
        return [path for path in named if shared(path, wanted) == most]
