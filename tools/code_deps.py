"""The files of this repository that a stage's code is made of: its import closure.

A module belongs to the closure if it is imported anywhere in the code, also inside a function; a package's
`__init__.py` if it does something; and so do the data files (templates, styles) beside a module of it.
Imports under `if TYPE_CHECKING:` never run and do not count. A folder that belongs to it as a whole is listed
as a folder.

    python tools/code_deps.py --write     # writes every closure into dvc.yaml: `make deps`
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PACKAGES = ("openo3", "stages", "flows")


def closure(stage: str) -> set[str]:
    """Paths relative to the root of everything that `python -m stages.STAGE` may import from it."""
    modules: set[str] = set()
    waiting = [f"stages.{stage}"]
    while waiting:
        name = waiting.pop()
        if name not in modules:
            modules.add(name)
            waiting += imports(name)
    files = {_file(name) for name in modules}
    beside = {f for file in files for f in file.parent.iterdir() if f.is_file() and f.suffix != ".py"}
    return {str(f.relative_to(ROOT)) for f in files | beside if _counts(f)}


def folded(files: set[str]) -> list[str]:
    """The same with one entry for each folder that belongs to the closure as a whole."""
    folders = {str(Path(file).parent) for file in files} - set(PACKAGES)
    whole = {folder for folder in folders if unfolded({folder}) <= files}
    whole = {folder for folder in whole if not any(str(above) in whole for above in Path(folder).parents)}
    return sorted(
        whole | {file for file in files if not any(str(above) in whole for above in Path(file).parents)}
    )


def unfolded(deps: set[str]) -> set[str]:
    """The files that listed dependencies stand for."""
    files = {f for dep in deps for f in ([ROOT / dep] if (ROOT / dep).is_file() else (ROOT / dep).rglob("*"))}
    files = {f for f in files if f.is_file() and "__pycache__" not in f.parts}
    return {str(f.relative_to(ROOT)) for f in files if _counts(f)}


def imports(module: str) -> Iterator[str]:
    """Modules of this repository that `module` names in an import, with the packages around them."""
    for node in _running_nodes(ast.parse(_file(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            named = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in named:
            parts = name.split(".")
            if parts[0] in PACKAGES:
                prefixes = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
                yield from (prefix for prefix in prefixes if _file(prefix).is_file())


def _running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _running_nodes(child)


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    depth = node.level - (_file(module).name == "__init__.py")
    package = module.split(".")[: -depth or None]
    return ".".join([*package, node.module] if node.module else package)


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _counts(file: Path) -> bool:
    """Every file but an `__init__.py` that has nothing except a docstring."""
    if file.name != "__init__.py":
        return True
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in body)


def is_code(dep: str) -> bool:
    """Whether a dependency listed in `dvc.yaml` is code, a file or a package, rather than data."""
    path = ROOT / dep
    return dep.split("/")[0] in PACKAGES and (not path.is_dir() or (path / "__init__.py").exists())


def main() -> None:
    yaml = YAML()  # keeps comments and order
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    path = ROOT / "dvc.yaml"
    pipeline = yaml.load(path)
    for name, stage in pipeline["stages"].items():
        code = folded(closure(name))
        stage["deps"][:] = [dep for dep in stage["deps"] if not is_code(dep)] + code
        print(name, *code, sep="\n    ")
    if "--write" in sys.argv:
        yaml.dump(pipeline, path)


if __name__ == "__main__":
    main()
