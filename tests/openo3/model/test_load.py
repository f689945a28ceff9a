"""A saved model comes back the same, from its folder or through a pointer."""

import io
import json
import os
import resource
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from openo3.model import load as loading
from openo3.model.attention import FRAMEWISE, GROUPED
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine
from openo3.model.load import POINTER, IncompleteModelError, load_model, load_processor, resolve
from tests.openo3.model.families import Family


@pytest.fixture
def folder(family: Family, tmp_path: Path) -> Path:
    family.model.save_pretrained(tmp_path / "model")
    family.processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_loads_unchanged(family: Family, folder: Path) -> None:
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


def test_a_saved_model_does_not_name_the_attention_implementation(folder: Path, tmp_path: Path) -> None:
    """Saved folders do not name the attention implementation, so that other programs can load them."""
    load_model(folder, torch.float32).save_pretrained(tmp_path / "again")
    saved = (tmp_path / "again" / "config.json").read_text()
    assert FRAMEWISE not in saved
    assert GROUPED not in saved


def test_a_pointer_loads_its_hub_model(tmp_path: Path) -> None:
    target = {"repo_id": "Qwen/Qwen3-VL-8B-Instruct", "revision": "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b"}
    (tmp_path / POINTER).write_text(json.dumps(target))
    assert resolve(tmp_path) == {
        "pretrained_model_name_or_path": target["repo_id"],
        "revision": target["revision"],
    }


def test_a_missing_model_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        load_processor(tmp_path / "missing")


def test_a_model_without_some_of_its_tensors_is_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    gone = next(name for name in sorted(tensors) if name.endswith("mlp.gate_proj.weight"))
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, weights, {"format": "pt"})
    with pytest.raises(IncompleteModelError, match=f"{folder}: 1 tensors are missing .*gate_proj.weight"):
        load_model(folder)


def test_truncated_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    with pytest.raises(IncompleteModelError, match=f"{folder}: its weights cannot be read"):
        load_model(folder)


def test_code_in_a_model_folder_is_never_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `trust_remote_code` unset, transformers prompts on standard input and runs the code on a `y`."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 8))
    (folder / "own.py").write_text("raise SystemExit('code of the model ran')\n")
    for name, entry in (
        ("config.json", {"AutoModelForImageTextToText": "own.Model", "AutoConfig": "own.Config"}),
        ("processor_config.json", {"AutoProcessor": "own.Processor"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Tokenizer", None]}),
    ):
        content = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        content["model_type"] = content.get("model_type", "") + ("own" if name == "config.json" else "")
        (folder / name).write_text(json.dumps({**content, "auto_map": entry}))
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_model(folder)


def test_an_endless_chat_template_is_refused(folder: Path) -> None:
    loop = "{% for _ in range(99999) %}" * 3 + "a" + "{% endfor %}" * 3
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + loop)
    tracer = sys.gettrace()
    with pytest.raises(ValueError, match="its chat template runs on after 100,000 lines"):
        load_processor(folder)
    assert sys.gettrace() is tracer


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{% set a = 'a' * 10**11 %}", "needs more than 1 GiB"),
        (
            "{% set n = namespace(a='ab') %}{% for _ in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
            "more than 1 GiB",
        ),
        ("{% set a = messages | length %}{{ (9 + a) ** (9 ** 9 + a) > 1 }}", "runs on after 0.5 s"),
    ],
)  # fmt: skip
def test_a_chat_template_whose_one_line_takes_all_memory_or_time_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    if "0.5 s" in said:
        monkeypatch.setattr(loading, "TEMPLATE_S", 0.5)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + line)
    limit, handler = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    with pytest.raises(ValueError, match=f"{folder}: its chat template .*{said}"):
        load_processor(folder)
    assert resource.getrlimit(resource.RLIMIT_AS) == limit
    assert signal.getsignal(signal.SIGPROF) is handler


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"repo_id": "a/b"}', "\x00", "3"])
def test_a_damaged_pointer_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / POINTER).write_text(text)
    with pytest.raises(IncompleteModelError, match=f"{tmp_path / POINTER}: not a pointer to a model"):
        resolve(tmp_path)
