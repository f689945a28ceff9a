"""The script that trains the base model, run for a few seconds instead of minutes."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Tokenizer, Qwen3VLConfig

from openo3.model.load import load_model, load_processor
from openo3.shapes import pretrain, tiny
from openo3.shapes.pretraining_batches import PretrainingBatches
from openo3.shapes.pretraining_questions import LOOSE


def tinier(text: Qwen2Tokenizer, whole: Callable[..., Qwen3VLConfig] = tiny.config) -> Qwen3VLConfig:
    """The same configuration with two layers of each kind, those of the vision tower of half the width."""
    config = whole(text)
    config.text_config.num_hidden_layers = config.vision_config.depth = 2
    config.vision_config.hidden_size, config.vision_config.intermediate_size = 64, 128
    return config


@pytest.mark.slow
def test_pretraining_writes_a_model_that_loads_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a smaller model, since Muon computes in half precision, in which a CPU is slow."""
    monkeypatch.setattr(pretrain, "score_held_out", lambda *_, **__: {"questions": 0})
    monkeypatch.setattr(pretrain, "corpus", partial(pretrain.corpus, scenes=400))
    monkeypatch.setattr(tiny, "config", tinier)
    small = ["--minutes", "0.01", "--batch", "2", "--workers", "0", "--device", "cpu"]

    labels = []

    def batches(*arguments: object) -> PretrainingBatches:
        made = PretrainingBatches(*arguments)
        labels.append(made.noise)
        return made

    monkeypatch.setattr(pretrain, "PretrainingBatches", batches)

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["pretrain", *small, *arguments])
        pretrain.main()

    run("--out", str(tmp_path / "one"), "--detection", "0.01", "--stills", "0.01")
    assert labels == [LOOSE] * 3
    on = ("--detection", "0", "--stills", "0", "--resume-from", str(tmp_path / "one"))
    run("--out", str(tmp_path / "two"), *on, "--box-loosen", "0.01", "--span-loosen", "0.5")
    tighter = replace(LOOSE, box_loosen=0.01, span_loosen_s=0.5)
    assert labels[3:] == [tighter]
    one, two = (json.loads((tmp_path / name / pretrain.RECORD).read_text()) for name in ("one", "two"))
    assert [each["runs"][-1]["noise"] for each in (one, two)] == [asdict(LOOSE), asdict(tighter)]
    assert two["runs"][-1]["processes"] == 1
    assert two["held_out"] == {"questions": 0}
    runs = two["runs"]
    assert runs[:3] == one["runs"]
    assert [each["phase"] for each in runs] == ["detection", "stills", "clips", "clips"]
    assert all(each["steps"] > 0 for each in runs)
    one, two = (load_model(tmp_path / name, torch.float32).state_dict() for name in ("one", "two"))
    moved = [name for name in one if not torch.equal(one[name], two[name])]
    assert len(moved) > len(one) / 2  # half precision keeps the smallest steps of the norms from showing
    assert load_processor(tmp_path / "two").tokenizer.get_vocab()["<think>"]


def test_echoed_batches_follow_each_new_one() -> None:
    shown = [batch["number"] for batch in pretrain.echoed(iter({"number": n} for n in range(12)), 2, 0, 4)]
    assert sorted(set(shown)) == list(range(12))
    assert shown[:5] == [0, 1, 2, 3, 4]
    assert len(shown) == 4 + 2 * 8
    for place in range(5, len(shown), 2):
        assert shown[place] < shown[place - 1]


@pytest.mark.parametrize(
    ("said", "answer", "score"),
    [("the red ring", "the red ring", 1.0), ("the red ring", "the blue ring", 0.0),
     ("[0,0,100,100]", "[0,0,100,140]", 0.9), ("From 1.0s to 2.0s", "From 1.0s to 2.5s", 0.75),
     ("From 1.0s", "From 1.0s to 2.0s", 0.0)],
)  # fmt: skip
def test_closeness(said: str, answer: str, score: float) -> None:
    assert pretrain.closeness(said, answer) == pytest.approx(score)
