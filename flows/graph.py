"""Read the pipeline from DVC: its stages with the matrix expanded, their needs, and which have changed.

The `meta` block of a stage in `dvc.yaml`, which DVC ignores, says what it needs:

    meta: {gpu: all, cpu: 2, hours: 24}      # stages never share a GPU; ended after a day
    meta: {network: true}                    # retried when it fails
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import networkx as nx
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.stage import Stage as DvcStage

RETRY_S = 2.0


class PipelineError(Exception):
    """Why the pipeline cannot be run; one line."""


@dataclass(frozen=True)
class Needs:
    """`gpu`: GPUs of its own, of those the machine has. `cpu`: cores. `hours`: time limit."""

    gpu: int | Literal["all"] = 0
    cpu: int = 1
    network: bool = False
    hours: float | None = None

    @classmethod
    def read(cls, stage: str, meta: Mapping[str, Any] | None) -> Needs:
        known = {field.name for field in fields(cls)}
        if unknown := sorted((meta or {}).keys() - known):
            names = ", ".join(sorted(known))
            raise PipelineError(f"dvc.yaml: {stage}: meta.{unknown[0]}: unknown key, there are {names}")
        needs = cls(**(meta or {}))
        valid = {
            "gpu": needs.gpu == "all" or _is_count(needs.gpu),
            "cpu": _is_count(needs.cpu),
            "network": isinstance(needs.network, bool),
            "hours": needs.hours is None or _is_number(needs.hours),
        }
        for key, good in valid.items():
            if not good:
                raise PipelineError(f"dvc.yaml: {stage}: meta.{key}: {getattr(needs, key)!r} is not valid")
        return needs


@dataclass(frozen=True)
class Stage:
    name: str
    after: tuple[str, ...]
    needs: Needs
    changed: bool


@dataclass(frozen=True)
class Pipeline:
    """`stages` are in topological order. A stage's `changed` ignores changes of the stages before it."""

    root: Path
    stages: tuple[Stage, ...]
    has_remote: bool


@contextmanager
def repository() -> Iterator[Repo]:
    """DVC's repository in the current folder, since DVC names stages relative to it.

    Raises `PipelineError` for anything that DVC cannot read.
    """
    try:
        with Repo(_wait_for_lock=True) as repo:
            if Path(repo.root_dir) != Path.cwd():
                raise PipelineError(f"start it from the root of the repository, {repo.root_dir}")
            yield repo
    except DvcException as error:
        causes = [str(error)]
        while (error := error.__cause__) is not None:
            causes.append(str(error))
        raise PipelineError(" ".join(": ".join(filter(None, causes)).split())) from None


def read(repo: Repo, targets: Iterable[str] = (), say: Callable[[str], None] = print) -> Pipeline:
    """The stages that `targets` need, or all of them, each with its status.

    If another `dvc` process holds files, it waits for it and reports that to `say`.
    """
    graph = repo.index.graph
    wanted = [stage for target in targets for stage in _collect(repo, target)]
    if wanted:
        needed = set(wanted).union(*(nx.descendants(graph, stage) for stage in wanted))
        graph = graph.subgraph(needed)
    names = {stage: stage.addressing for stage in graph}
    changed = _status(repo, targets, say)
    stages = tuple(
        Stage(
            names[stage],
            () if stage.frozen else tuple(sorted(names[before] for before in graph.successors(stage))),
            Needs.read(names[stage], stage.meta),
            names[stage] in changed,
        )
        for stage in nx.lexicographical_topological_sort(graph.reverse(copy=False), key=names.get)
    )
    if not stages:
        raise PipelineError("dvc.yaml: no stage to run")
    return Pipeline(Path(repo.root_dir), stages, bool(repo.config["core"].get("remote")))


def _collect(repo: Repo, target: str) -> list[DvcStage]:
    """The stages that `target` names: one, or all of a matrix."""
    if not Path(target.partition(":")[0]).resolve().is_relative_to(repo.root_dir):
        raise PipelineError(f"targets: {target}: outside of this repository")
    return list(repo.stage.collect(target))


def _status(repo: Repo, targets: Iterable[str], say: Callable[[str], None]) -> Mapping[str, Any]:
    said = ""
    while True:
        try:
            return repo.status(list(targets) or None, with_deps=bool(targets))
        except LockError as error:
            if str(error) != said:
                said = str(error)
                say(f"waiting: {said}")
            time.sleep(RETRY_S)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
