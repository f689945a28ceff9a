"""A saved model comes back the same, from its folder or through a pointer."""

import json
from pathlib import Path

import pytest
import torch

from openo3.model.attention import FRAMEWISE, GROUPED
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine
from openo3.model.load import POINTER, load_model, load_processor, resolve
from tests.openo3.model.families import Family


@pytest.fixture
def folder(family: Family, tmp_path: Path) -> Path:
    family.model.save_pretrained(tmp_path / "model")
    family.processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_round_trip(family: Family, folder: Path) -> None:
    model, processor = load_model(folder, torch.float32), load_processor(folder)
    assert type(model) is type(family.model)
    assert type(processor) is type(family.processor)
    assert processor.tokenizer.padding_side == "left"
    assert model.model.visual.config._attn_implementation == FRAMEWISE
    assert model.config.text_config._attn_implementation == GROUPED
    for name, tensor in family.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name

    prompt = Prompt(family.frames(2), 9.5, "Where is <think></think>it?")
    sampling = Sampling(8, temperature=1.0, seed=1)
    ours, theirs = LocalEngine(family.model, family.processor), LocalEngine(model.eval(), processor)
    assert theirs.generate([prompt], sampling) == ours.generate([prompt], sampling)


def test_engine_loads_a_folder(family: Family, folder: Path) -> None:
    engine = LocalEngine.load(folder)
    assert not engine.model.training
    (answers,) = engine.generate([Prompt(family.frames(1), None, "Where?")], Sampling(3, n=2))
    assert len(answers) == 2


def test_saved_again_it_asks_for_nothing_special(folder: Path, tmp_path: Path) -> None:
    """The attention is this program's own business: other programs load the folder too."""
    load_model(folder, torch.float32).save_pretrained(tmp_path / "again")
    saved = (tmp_path / "again" / "config.json").read_text()
    assert FRAMEWISE not in saved
    assert GROUPED not in saved


def test_pointer_to_a_hub_model(tmp_path: Path) -> None:
    target = {"repo_id": "Qwen/Qwen3-VL-8B-Instruct", "revision": "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b"}
    (tmp_path / POINTER).write_text(json.dumps(target))
    assert resolve(tmp_path) == {
        "pretrained_model_name_or_path": target["repo_id"],
        "revision": target["revision"],
    }


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        load_processor(tmp_path / "missing")
