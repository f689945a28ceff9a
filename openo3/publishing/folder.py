"""Write the model folder.

README.md                    the card
results.svg                  its picture
prompts.yaml                 the templates of the prompts of its training
openo3-run.json              parameters and metrics in full, digests of the weights
.eval_results/NAME.yaml      what the hub's leaderboards read
config.json  *.safetensors   the model, as `from_pretrained` reads it
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import orjson
import yaml
from huggingface_hub import eval_result_entries_to_yaml

from openo3.files.artifacts import atomic_directory, read_json, write_json
from openo3.inference.checkout import PROMPTS, RECORD
from openo3.publishing import results
from openo3.publishing.card import PICTURE, model_card
from openo3.publishing.chart import results_picture
from openo3.publishing.run import PublishError, Run, holds_token

MADE_BY = "openo3 publish"
FILES = "files"
"""The names of the folder's files in its record: a folder with others is not replaced."""
_NOT_COPIED = (".bin", ".pt", ".pth", ".pkl", ".pickle")
"""Pickles of a trainer, which can run code when they are loaded. The weights are safetensors."""

_TEXTS = (".json", ".jsonl", ".jinja", ".md", ".py", ".txt", ".yaml", ".yml", ".log", ".toml", ".csv")


def write_folder(run: Run, target: Path, name: str | None = None) -> list[str]:
    """Write the folder atomically and return the names of its files.

    A folder that was published before is replaced. Raises `PublishError` if the target is anything else.
    """
    check_target(run, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(target) as folder:
        fill(run, folder, name or target.name)
        return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def check_target(run: Run, target: Path) -> None:
    """Raises `PublishError` unless the target is free, an empty folder, or a published one."""
    if target.is_symlink():
        raise PublishError(f"{target}: is a link; name the folder itself")
    if target.resolve() == run.model.resolve() or target.resolve() in run.model.resolve().parents:
        raise PublishError(f"{target}: holds the model itself; name another folder")
    if not target.exists():
        return
    if not target.is_dir() or (any(target.iterdir()) and not is_published(target / RECORD)):
        raise PublishError(f"{target}: exists and was not written by {MADE_BY}, so it is left alone")
    if others := _others(target):
        raise PublishError(f"{target}: holds {others[0]}, which {MADE_BY} did not write; move it elsewhere")


def _others(target: Path) -> list[str]:
    """The files in a published folder that its record does not name, those of a `.git` for example."""
    written = read_json(target / RECORD).get(FILES) if (target / RECORD).is_file() else None
    if not isinstance(written, list):
        return []
    return sorted(
        {str(file.relative_to(target)) for file in target.rglob("*") if not file.is_dir()} - {*written}
    )


def is_published(record: Path) -> bool:
    """Whether this file is a record that `openo3 publish` wrote."""
    try:
        found = read_json(record)
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(found, dict) and found.get("made_by") == MADE_BY


def _check_texts(files: Iterable[Path]) -> None:
    """Raises `PublishError` if one that is copied holds an access token."""
    for file in files:
        is_text = file.suffix in _TEXTS and file.is_file() and not file.name.startswith(".")
        if is_text and holds_token(file.read_text(encoding="utf-8", errors="replace")):
            raise PublishError(f"{file}: holds what looks like an access token; remove it")


def fill(run: Run, folder: Path, name: str) -> None:
    """Write all files of the model `name` into an empty folder."""
    weights = {}
    _check_texts([*run.model.iterdir(), run.prompts])
    for file in sorted(run.model.iterdir()):
        if not file.is_file() or file.name.startswith(".") or file.suffix in _NOT_COPIED:
            continue
        shutil.copyfile(file, folder / file.name)
        if file.suffix == ".safetensors":
            with open(folder / file.name, "rb") as content:
                weights[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    shutil.copyfile(run.prompts, folder / PROMPTS)
    record = {
        "made_by": MADE_BY,
        "openo3": version("openo3"),
        "checkpoint": run.name,
        "weights_sha256": weights,
        "parameters": run.parameters,
        "metrics": run.evaluated[run.name],
        "protocols": run.protocols,
        "training": run.trained,
        "validation": run.validation,
    }
    (folder / PICTURE).write_text(results_picture(run), encoding="utf-8")
    model_card(run, name).save(folder / "README.md")
    for benchmark, entries in results.leaderboard_entries(run).items():
        (folder / ".eval_results").mkdir(exist_ok=True)
        written = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
        (folder / f".eval_results/{benchmark}.yaml").write_text(written, encoding="utf-8")
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    write_json(folder / RECORD, record | {FILES: sorted({*names, RECORD})})
