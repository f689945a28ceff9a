"""Every profile is complete and readable by every stage; `params.yaml` is a copy of one of them."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from openo3.cli.doctor import Requirements
from openo3.configuration import read_block
from openo3.prompt_file import DEFAULT
from tools.code_deps import ROOT

STAGES = list(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


def test_the_committed_parameters_are_the_shapes_profile() -> None:
    """`params.yaml` is a copy: edit profiles/shapes.yaml likewise, or `make profile P=shapes` first."""
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "profiles/shapes.yaml").read_bytes()


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_profile_has_exactly_one_block_per_stage(path: Path) -> None:
    blocks = YAML(typ="safe").load(path)
    assert set(blocks) == {*STAGES, "launcher", "requires", "prompts"}
    assert set(blocks["launcher"]) == {"train", "evaluate"}
    read_block(path, "requires", Requirements)
    assert blocks["prompts"] == str(DEFAULT.relative_to(ROOT))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_stage_parses_its_block(path: Path, stage: str) -> None:
    read_block(path, stage, import_module(f"stages.{stage}").Params)


def test_a_hub_model_of_one_gpu_is_pinned() -> None:
    """Whoever takes it gets the weights that the memory was estimated for."""
    base = YAML(typ="safe").load(ROOT / "profiles/one-gpu.yaml")["base_model"]
    assert re.fullmatch("[0-9a-f]{40}", base["revision"])
