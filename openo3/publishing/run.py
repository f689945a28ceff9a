"""The parameters and metrics of the run that made a checkpoint.

run = read_run(Path("."), Path("data/models/gspo"), parameters)
run.evaluated["gspo"]["NAME"]["greedy"]     # the numbers of one benchmark
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from openo3.annotations.catalogue import table
from openo3.annotations.catalogue.table import Catalogue
from openo3.benchmarks.protocol import beside
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import CHECKPOINTS, trained_by
from openo3.files.artifacts import read_json
from openo3.files.safe_path import Root, UnsafePath
from openo3.prompt_file import DEFAULT
from openo3.report.inputs import INSTEAD, MEANT

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_PRIVATE = re.compile(
    r"(?:_|\b)(?:token|key|secret|password|passwd|credentials?|auth|authorization|url|endpoint|host|proxy|"
    r"executor|workers)(?:_|\b)",
    re.IGNORECASE,
)
_WORD_BEGINS = re.compile(r"(?<=[a-z])(?=[A-Z])")  # as in apiKey
_TOKEN = re.compile(r"\b(?:hf_\w{8,}|sk-[\w-]{16,}|gh[oprsu]_\w{16,}|github_pat_\w{16,})")
_PLACE = re.compile(
    r"(?:^|[\s'\"=:,;(\[])(?:~\w*/|/(?=[\w.])|[A-Za-z]:\\|\\\\\w)"  # a path from the root or a home
    r"|(?<!\bhf)://"  # an address
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b"
)


class PublishError(ValueError):
    """A checkpoint cannot be published; the message is one line that names what is wrong."""


@dataclass(frozen=True)
class Dataset:
    """The hub dataset with a benchmark's records. `revision` is `None` for its newest commit."""

    id: str
    revision: str | None = None


@dataclass(frozen=True)
class Run:
    """A checkpoint and how it was made.

    `parameters` are the blocks of the parameter file that describe how the checkpoint was made, without
    secrets and machine-specific values. `evaluated[model]` are the numbers of `metrics/evaluate/MODEL.json`
    for each checkpoint that has some. `protocols` are those in the file beside this checkpoint's metrics, by
    benchmark and condition. `trained[stage]` and `validation` are the stages' numbers, empty if absent.
    `prompts` is the file with the templates of the prompts. `source` is where the data came from: `shapes`,
    `local` or `published`, or several of them joined by `+`. `datasets` are the hub datasets of benchmarks,
    for those whose records are one.
    """

    name: str
    model: Path
    parameters: Mapping[str, Any]
    evaluated: Mapping[str, Mapping[str, Any]]
    protocols: Mapping[str, Any]
    trained: Mapping[str, Mapping[str, Any]]
    validation: Mapping[str, Any]
    prompts: Path
    source: str
    datasets: Mapping[str, Dataset]
    catalogue: Catalogue

    @property
    def sources(self) -> list[str]:
        return self.source.split("+")

    @property
    def title(self) -> str:
        return CHECKPOINTS.get(self.name, self.name)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that trained it, in order. For a checkpoint of another name, all stages that ran."""
        return trained_by(self.name) if self.name in CHECKPOINTS else tuple(self.trained)

    def condition(self, model: str, benchmark: str) -> str | None:
        """The condition in which a checkpoint is compared on a benchmark, `None` if it was not evaluated."""
        found = self.evaluated.get(model, {}).get(benchmark) or {}
        order = (MEANT.get(model, "greedy"), *INSTEAD)
        return next((name for name in order if isinstance(found.get(name), dict)), None)

    def meant(self, benchmark: str) -> str:
        """The condition of this checkpoint on one of its benchmarks."""
        condition = self.condition(self.name, benchmark)
        assert condition is not None
        return condition

    @property
    def benchmarks(self) -> list[str]:
        """The benchmarks that the checkpoint was evaluated on, in the order of the report."""
        return [name for name in BENCHMARKS if self.condition(self.name, name)]


def read_run(
    root: Path,
    model: Path,
    parameters: Mapping[str, Any],
    prompts: Path = DEFAULT,
    datasets: Mapping[str, str] | None = None,
) -> Run:
    """Read the run of the checkpoint in the folder `model` from the repository at `root`.

    `parameters` are all blocks of its parameter file, `prompts` is the file of templates that it names.
    `datasets` names hub datasets by benchmark, in addition to those of the catalogue.

    Raises `PublishError` if the folder holds no trained model, or the model was not evaluated.
    """
    name = model.resolve().name
    if (model / "pointer.json").is_file():
        raise PublishError(f"{model}: only points to a model of the hub, there is nothing to publish")
    if not (model / "config.json").is_file() or not any(model.glob("*.safetensors")):
        raise PublishError(f"{model}: no model here (config.json and *.safetensors)")
    _check_links(model, root)
    path = root / f"metrics/evaluate/{name}.json"
    if not path.is_file():
        raise PublishError(f"{path}: no metrics of this model; `dvc repro evaluate@{name}` writes them")
    evaluated = {
        each: _numbers(file)
        for each in dict.fromkeys((*CHECKPOINTS, name))
        if (file := root / f"metrics/evaluate/{each}.json").is_file()
    }
    download = _block(parameters, "download")
    own = _block(download, "published").get("table")
    catalogue = table.shipped().with_own(table.read(root / own)) if own else table.shipped()
    named = download.get("source")
    source = "+".join(map(str, named)) if isinstance(named, list | tuple) else str(named)
    stages = trained_by(name)
    blocks = ("base_model", "sample_frames", *stages, "evaluate")
    run = Run(
        name=name,
        model=model,
        parameters=public({block: _block(parameters, block) for block in blocks if block in parameters}),
        evaluated=without_places(evaluated),
        protocols=public(_numbers(file)) if (file := beside(path)).is_file() else {},
        trained={
            stage: without_places(_numbers(file))
            for stage in stages
            if (file := root / f"metrics/{stage}.json").is_file()
        },
        validation=_validation(root / "metrics/validation.json"),
        prompts=prompts,
        source=source,
        datasets=_known(catalogue, source) | _named(datasets or {}),
        catalogue=catalogue,
    )
    if not run.benchmarks:
        raise PublishError(f"{path}: holds no numbers of a benchmark; there are {', '.join(BENCHMARKS)}")
    return run


def _check_links(model: Path, root: Path) -> None:
    """Raises `PublishError` for a link out of the model's folder: what it leads to would be published.

    DVC's own links into its cache are the files themselves.
    """

    def cache() -> list[str]:
        from dvc.repo import Repo

        return [Repo(str(root)).cache.local_cache_dir] if (root / ".dvc").is_dir() else []

    folder = Root(model, cache)
    for file in model.iterdir():
        if file.is_symlink():
            try:
                folder.find(file.name)
            except UnsafePath as error:
                raise PublishError(f"{file}: {error}; publish a folder with the file itself") from None


def public(value: Any) -> Any:
    """Parameters without secrets and machine-specific values.

    >>> public({"judge": {"kind": "served", "url": "http://10.0.0.1"}, "hub_token": "x", "seed": 0})
    {'judge': {'kind': 'served'}, 'seed': 0}
    """
    if isinstance(value, Mapping):
        shown = {key: item for key, item in value.items() if not _is_private(str(key))}
        return without_places({key: public(item) for key, item in shown.items()})
    return without_places([public(item) for item in value]) if isinstance(value, list | tuple) else value


def without_places(value: Any) -> Any:
    """Without texts that are or hold a token, a path of this machine, or an address, whatever their names.

    >>> without_places({"cache": "/home/me/x", "base": "Qwen/Qwen3-VL-8B", "notes": ["see ~/notes", "a / b"]})
    {'base': 'Qwen/Qwen3-VL-8B', 'notes': ['a / b']}
    """
    if isinstance(value, Mapping):
        items = ((key, without_places(item)) for key, item in value.items() if not _is_place(item))
        return {key: item for key, item in items if not _is_place(key)}
    if isinstance(value, list | tuple):
        return [without_places(item) for item in value if not _is_place(item)]
    return value


def holds_token(text: str) -> bool:
    """Whether a text holds what looks like somebody's access token."""
    return bool(_TOKEN.search(text))


def _is_private(name: str) -> bool:
    return bool(_PRIVATE.search(_WORD_BEGINS.sub("_", name)))


def _is_place(value: Any) -> bool:
    return isinstance(value, str) and bool(_PLACE.search(value) or holds_token(value))


def is_hub_name(name: str) -> bool:
    """Whether it is OWNER/NAME, as the hub allows names."""
    return bool(_NAME.fullmatch(name)) and ".." not in name and "--" not in name


def _known(catalogue: Catalogue, source: str) -> dict[str, Dataset]:
    if source != "published":
        return {}
    places = {name: entry.place for name, entry in catalogue.annotations.items() if name in BENCHMARKS}
    return {name: Dataset(p.hub, p.revision) for name, p in places.items() if p and p.hub}


def _named(datasets: Mapping[str, str]) -> dict[str, Dataset]:
    found = {}
    for benchmark, written in datasets.items():
        if benchmark not in BENCHMARKS:
            raise PublishError(f"unknown benchmark {benchmark!r}; there are {', '.join(BENCHMARKS)}")
        name, _, revision = written.partition("@")
        if not is_hub_name(name):
            raise PublishError(f"{written!r}: not the name of a hub dataset, OWNER/NAME")
        found[benchmark] = Dataset(name, revision or None)
    return found


def _block(parameters: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = parameters.get(name)
    return found if isinstance(found, Mapping) else {}


def _validation(path: Path) -> dict[str, Any]:
    """The numbers of `validate`, without the names of files that were missing."""
    found = _numbers(path) if path.is_file() else {}
    return without_places({name: value for name, value in found.items() if name != "missing"})


def _numbers(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (OSError, orjson.JSONDecodeError) as error:
        raise PublishError(f"{path}: cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise PublishError(f"{path}: not the metrics of a stage")
    return found
