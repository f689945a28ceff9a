"""Hub models are built without a download and load like any model of their family."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openo3.cli.doctor import Requirements
from openo3.configuration import read_block
from openo3.media.frame_store import Frame
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine
from openo3.model.load import load_model, load_processor
from openo3.rehearsal import model
from tools.code_deps import ROOT

SMALL = {
    "text": {
        "vocab_size": 3000,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "qwen2_5_vl": {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "fullatt_block_indexes": [1],
        "out_hidden_size": 64,
    },
    "qwen3_vl": {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "deepstack_visual_indexes": [0],
        "num_position_embeddings": 64,
        "out_hidden_size": 64,
    },
}


@pytest.fixture(params=model.known())
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A hub model whose configuration has its own form and small numbers."""
    known = model._configurations()
    facts = known[request.param]
    text = facts["text"] | SMALL["text"] | ({"head_dim": 16} if "head_dim" in facts["text"] else {})
    sections = {"qwen2_5_vl": [2, 3, 3], "qwen3_vl": [4, 2, 2]}[facts["family"]]
    text["rope_parameters"] = text["rope_parameters"] | {"mrope_section": sections}
    vision = facts["vision"] | SMALL[facts["family"]]
    small = {request.param: facts | {"text": text, "vision": vision}}
    monkeypatch.setattr(model, "_configurations", lambda: small)
    return request.param


@pytest.mark.parametrize(
    ("profile", "source"),
    [
        ("open-o3-7b", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("open-o3-8b", "Qwen/Qwen3-VL-8B-Instruct"),
        ("one-gpu", "Qwen/Qwen3-VL-2B-Instruct"),
    ],
)
def test_the_sizes_are_those_that_the_profile_gives_to_the_doctor(profile: str, source: str) -> None:
    path = ROOT / f"profiles/{profile}.yaml"
    said = read_block(path, "requires", Requirements).model
    size = model.size_of(model.configuration(source))
    assert said is not None
    assert size.shape.billion_weights == pytest.approx(said.billion_weights, abs=0.05)
    assert (size.shape.layers, size.shape.hidden) == (said.layers, said.hidden)
    assert (size.shape.intermediate, size.shape.kv_width) == (said.intermediate, said.kv_width)
    assert 0.4e9 < size.vision < 0.8e9
    assert size.text + size.vision < size.weights


def test_a_built_model_answers_a_question(source: str, tmp_path: Path) -> None:
    model.build(source, tmp_path, ["When is the red circle in view? From 1.0s to 4.5s"] * 5)
    loaded = load_model(tmp_path, torch.float32)
    assert sum(each.numel() for each in loaded.parameters()) == model.size_of_folder(tmp_path).weights
    assert all(torch.isfinite(each).all() for each in loaded.parameters())
    engine = LocalEngine(loaded.eval(), load_processor(tmp_path))
    side = engine.encoder.side_multiple
    image = Image.fromarray(np.zeros((2 * side, 3 * side, 3), np.uint8))
    prompt = Prompt((Frame(image, 0.0, False), Frame(image, 1.0, False)), 2.0, "What is it?")
    [answers] = engine.generate([prompt], Sampling(max_new_tokens=4, temperature=1.0, n=2))
    assert len(answers) == 2


def test_fewer_layers_make_a_smaller_model(source: str, tmp_path: Path) -> None:
    whole, cut = (model.size_of(model.configuration(source, layers)) for layers in (None, 3))
    assert cut.shape.layers == 3
    assert cut.text == whole.text * 3 // 4
    assert cut.vision == whole.vision
    model.build(source, tmp_path, ["one two"] * 5, layers=3)
    assert len(load_model(tmp_path, torch.float32).model.language_model.layers) == 3


def test_shards_hold_every_tensor_once(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "SHARD_BYTES", 200_000)
    model.build(source, tmp_path, ["one two"] * 5)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    load_model(tmp_path, torch.float32)
