"""The licence chain: the base model and the data of a checkpoint, each with its licence.

It lists licences and does not judge what they allow together. An unknown licence is listed as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from huggingface_hub import ModelCard, try_to_load_from_cache
from yaml import YAMLError

from openo3.publishing.run import Run

_LONGEST = 80  # characters of a licence's name
OWN = "apache-2.0"
"""The licence of openo3, and so of the model and the world that it ships."""


@dataclass(frozen=True)
class Link:
    """`licence` is `None` if it is unknown. `trained` is false for data that is only used for evaluation."""

    part: str
    origin: str
    licence: str | None
    trained: bool = True
    note: str = ""


def chain(run: Run) -> list[Link]:
    """Every part of the chain, the base model first."""
    return [_base(run), *_training(run), *_benchmarks(run)]


def licence(links: list[Link]) -> str:
    """The licence that the base model and all training data share, else `other`."""
    found = {link.licence for link in links if link.trained}
    [only] = found if len(found) == 1 else [None]
    return only or "other"


def base_model(run: Run) -> tuple[str, str | None] | None:
    """The hub's name of the model that training began with, and its revision; None for the shipped one."""
    block = run.parameters.get("base_model", {})
    source = block.get("source", "shipped")
    return None if source == "shipped" else (str(source), block.get("revision"))


def _base(run: Run) -> Link:
    if (base := base_model(run)) is None:
        return Link("base model", "a Qwen3-VL of a few million parameters that openo3 ships", OWN)
    name, revision = base
    known = try_to_load_from_cache(name, "README.md", revision=revision)
    stated = _stated(known) if isinstance(known, str) else None
    note = "" if stated else "its card is not on this machine; see the model's page"
    return Link("base model", f"{name}@{revision}" if revision else name, stated, note=note)


def _stated(path: str) -> str | None:
    """What a model's card says; its YAML comes from outside and may hold anything."""
    try:
        found: Any = ModelCard.load(path).data
    except (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError, YAMLError):
        return None
    stated = found.license or found.get("license_name")
    return stated[:_LONGEST] if isinstance(stated, str) else None


def _training(run: Run) -> Iterator[Link]:
    files = [name for name in ("sft", "rl") if _stage_of(name) in run.stages]
    counted = run.validation.get("sources", {})
    names = sorted({source for file in files for source in counted.get(file, {})})
    if "published" in run.sources:
        for name in files:
            entry = run.catalogue.annotations.get(name)
            if entry and entry.place:
                yield Link(f"annotations, {name}", entry.place.name, entry.licence, note=entry.note)
    for name in names:
        yield _media(run, name, "training data", trained=True)


def _stage_of(file: str) -> str:
    return {"sft": "sft", "rl": "gspo"}[file]


def _benchmarks(run: Run) -> Iterator[Link]:
    for name in run.benchmarks:
        if run.source == "published":
            yield _media(run, name, "evaluation data", trained=False)
        else:
            licence = OWN if run.source == "shapes" else None
            yield Link("evaluation data", f"{run.source}, in the format of {name}", licence, trained=False)


def _media(run: Run, name: str, part: str, trained: bool) -> Link:
    entry = next((e for pattern, e in run.catalogue.sources.items() if fnmatchcase(name, pattern)), None)
    if entry is None:
        return Link(part, name, None, trained)
    places = "; ".join(place.name for place in entry.media)
    return Link(part, f"{name} ({places})" if places else name, entry.licence, trained, entry.note)
