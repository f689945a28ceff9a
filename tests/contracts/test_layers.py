"""The layers: flows -> stages -> openo3, and inside openo3 each package imports only those below it."""

import ast
import sys
from pathlib import Path

import pytest

from tools.code_deps import ROOT, imports

# What each package may import besides itself; a package missing from a row is above it or on its level
BELOW = {
    "flows": {"stages", "openo3"},
    "stages": {"openo3"},
    "openo3": set(),
}
GROUND = {"core", "files", "checkpoints", "configuration", "executors", "prompt_file"}
MEDIA = GROUND | {"media"}
RECORDS = GROUND | {"annotations"}
# a benchmark's file also describes its annotation file, so readers of all annotation files are above it
BENCHMARKS = MEDIA | RECORDS | {"model", "chat"}
INSIDE = {
    "core": set(),
    "files": set(),
    "checkpoints": set(),
    "configuration": set(),
    "executors": set(),
    "chat": set(),
    "prompts": set(),
    "prompt_file": {"core", "configuration"},
    "drawing": {"core"},
    "media": GROUND,
    "annotations": GROUND,
    "model": MEDIA,
    "fetch": RECORDS | {"media", "benchmarks"},
    "training": MEDIA | {"model"},
    "benchmarks": BENCHMARKS,
    "annotating": MEDIA | RECORDS | {"benchmarks", "chat"},
    "player": GROUND | {"media"},
    "inference": MEDIA | {"model", "player"},
    "conversion": MEDIA | RECORDS | {"fetch"},
    "shapes": MEDIA | RECORDS | {"model", "training"},
    "rehearsal": MEDIA | RECORDS | {"model", "training", "benchmarks", "shapes"},
    "validation": MEDIA | RECORDS | {"benchmarks", "drawing", "fetch"},
    "report": MEDIA | RECORDS | {"benchmarks", "drawing", "fetch"},
    "publishing": RECORDS | {"benchmarks", "drawing", "inference", "report"},
    "serving": MEDIA | {"model", "inference", "fetch", "shapes", "player"},
    "gallery": MEDIA | RECORDS | {"benchmarks", "inference", "player"},
    "audit": MEDIA
    | RECORDS
    | {"benchmarks", "drawing", "gallery", "inference", "model", "report", "training"},
    "review": MEDIA | RECORDS | {"fetch", "gallery", "inference", "player", "serving", "validation"},
    "cli": MEDIA
    | RECORDS
    | {
        "annotating",
        "audit",
        "benchmarks",
        "conversion",
        "fetch",
        "gallery",
        "inference",
        "player",
        "publishing",
        "rehearsal",
        "review",
        "serving",
    },
}
# the core is pure: it opens no file, starts no process and does not need torch
PURE = set(sys.stdlib_module_names) - {"io", "os", "pathlib", "shutil", "socket", "subprocess", "urllib"}
PURE |= {"numpy", "rouge_score"}


def modules(package: str) -> list[str]:
    files = (ROOT / package).rglob("*.py")
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    return sorted(name.removesuffix(".__init__") for name in names)


def source_of(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


EVERY = [module for layer in BELOW for module in modules(layer)]


CORE = [module for module in EVERY if module.startswith("openo3.core.")]


@pytest.mark.parametrize("module", EVERY)
def test_packages_import_only_lower_layers(module: str) -> None:
    layer, *rest = module.split(".")
    allowed = {layer} | BELOW[layer]
    assert {name.split(".")[0] for name in imports(module)} <= allowed
    if layer == "openo3" and rest:
        inner = {name.split(".")[1] for name in imports(module) if name.startswith("openo3.")}
        assert inner <= {rest[0]} | INSIDE[rest[0]]


@pytest.mark.parametrize("module", CORE)
def test_the_core_is_pure(module: str) -> None:
    tree = ast.parse(source_of(module))
    used = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert used <= PURE | {"openo3"}
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not called & {"open", "print", "input"}


@pytest.mark.parametrize("module", [m for m in EVERY if m.startswith("openo3")])
def test_no_module_reads_parameters_or_the_command_line(module: str) -> None:
    """The library does not depend on a stage or a command: they pass parameters and arguments to it.

    A module that is a process of its own (`python -m`) may read its own arguments.
    """
    source = source_of(module)
    # A rehearsal writes the parameters of its own folder
    own = (
        "openo3.cli.doctor",
        "openo3.cli.profile",
        "openo3.inference.checkout",
        "openo3.rehearsal.rehearse",
    )
    if module not in own:
        assert "params.yaml" not in source
    if module != "openo3.cli.main" and '__name__ == "__main__"' not in source:
        assert "sys.argv" not in source


def test_every_folder_with_modules_has_an_init_file() -> None:
    """Every folder with modules has an `__init__.py`, so that an installed openo3 is complete."""
    folders = {f.parent for layer in BELOW for f in (ROOT / layer).rglob("*.py")}
    assert [str(f) for f in folders if not (Path(f) / "__init__.py").exists()] == []
