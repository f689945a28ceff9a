"""Everything about a benchmark is in its own file: no other file of openo3/ names it."""

import re

import pytest

from openo3.benchmarks.registry import BENCHMARKS
from tools.code_deps import ROOT

FILES = [file for ending in ("*.py", "*.j2") for file in (ROOT / "openo3").rglob(ending)]
ELSEWHERE = [
    file
    for file in FILES
    if ROOT / "openo3/shapes" not in file.parents and file != ROOT / "openo3/benchmarks/registry.py"
]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_named_only_in_its_own_file(name: str) -> None:
    home = {file for file in ELSEWHERE if file.parent.name == "benchmarks" and file.stem.startswith(name)}
    assert ROOT / f"openo3/benchmarks/{name}.py" in home
    named = re.compile(rf"\b{name}\b", re.IGNORECASE)
    found = [file for file in ELSEWHERE if file not in home and named.search(file.read_text("utf-8"))]
    assert [str(file.relative_to(ROOT)) for file in found] == []


def test_every_benchmark_is_registered() -> None:
    """A file that builds a `Benchmark` is listed in the registry."""
    folder = ROOT / "openo3/benchmarks"
    built = {
        f.stem for f in folder.glob("*.py") if re.search(r"^[A-Z_]+ = \w*[bB]enchmark\(", f.read_text(), re.M)
    }
    assert built == set(BENCHMARKS)
