"""How pytest-xdist deals tests to processes: by files, in the order of a single process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import PurePath
from typing import Any

from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests", "tests/flows")
"""Folders whose files share fixtures that take long to make: a finished run, a Prefect server."""


class InOrder(LoadScopeScheduling):
    """Neighbours of one file, or of one folder of `TOGETHER`, go to one process, where they share fixtures.

    The slow tests of a file are no neighbours of its fast ones, so that they may come later.
    """

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # else the files with most tests would come first
        self._scopes: dict[str, str] = {}

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        super().add_node_collection(node, collection)
        for number, (_, neighbours) in enumerate(groupby(collection, place)):
            self._scopes |= dict.fromkeys(neighbours, str(number))

    def _split_scope(self, nodeid: str) -> str:
        return self._scopes[nodeid]


def place(nodeid: str) -> str:
    """The file of a test, or its folder if that is one of `TOGETHER`."""
    file = PurePath(nodeid.partition("::")[0])
    folder = str(file.parent)
    return folder if folder in TOGETHER else str(file)
