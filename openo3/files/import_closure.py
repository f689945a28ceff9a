"""The files of this repository that a module is made of: its import closure.

A module belongs to the closure if it is imported anywhere in the code, also inside a function; a package's
`__init__.py` if it does something; and so do the data files (templates, styles) beside a module of it.
Imports under `if TYPE_CHECKING:` never run and do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
    return {str(f.relative_to(ROOT)) for f in files | beside if counts(f)}


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


def counts(file: Path) -> bool:
    """Whether a file can change behaviour: every file but an `__init__.py` with only a docstring."""
    if file.name != "__init__.py":
        return True
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in body)


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
