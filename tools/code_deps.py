"""Write each stage's code dependencies, its import closure, into dvc.yaml: `make deps`.

    python tools/code_deps.py --write

See `openo3.files.import_closure`. A folder that belongs to the closure as a whole is listed as a folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from openo3.files.import_closure import PACKAGES, closure, counts, imports  # noqa: E402

__all__ = ["ROOT", "closure", "imports", "is_code", "unfolded"]


def folded(files: set[str]) -> list[str]:
    """The closure with one entry for each folder that belongs to it completely."""
    folders = {str(Path(file).parent) for file in files} - set(PACKAGES)
    whole = {folder for folder in folders if unfolded({folder}) <= files}
    whole = {folder for folder in whole if not any(str(above) in whole for above in Path(folder).parents)}
    return sorted(
        whole | {file for file in files if not any(str(above) in whole for above in Path(file).parents)}
    )


def unfolded(deps: set[str]) -> set[str]:
    """The files that the listed dependencies include."""
    files = {f for dep in deps for f in ([ROOT / dep] if (ROOT / dep).is_file() else (ROOT / dep).rglob("*"))}
    files = {f for f in files if f.is_file() and "__pycache__" not in f.parts}
    return {str(f.relative_to(ROOT)) for f in files if counts(f)}


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
