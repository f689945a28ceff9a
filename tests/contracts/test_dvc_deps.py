"""`dvc.yaml` lists exactly the code, the parameters and the outputs that each stage has."""

import pytest
from ruamel.yaml import YAML

from tools.code_deps import ROOT, closure, is_code, unfolded

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_the_import_closure(name: str) -> None:
    listed = {dep for dep in STAGES[name]["deps"] if is_code(dep)}
    assert unfolded(listed) == closure(name), "run `make deps`"


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_that_read_prompts_depend_on_their_templates(name: str) -> None:
    """Another template reruns these stages and what follows from them, and no other."""
    assert ("${prompts}" in STAGES[name]["deps"]) == ("stages/prompts.py" in closure(name))
    assert not any(dep.startswith("openo3/prompts") for dep in STAGES[name]["deps"])


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_only_on_its_own_parameter_block(name: str) -> None:
    assert STAGES[name]["params"] == [name]
