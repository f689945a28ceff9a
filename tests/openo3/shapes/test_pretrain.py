"""The script that makes the base model, for a few seconds instead of minutes."""

import json
import sys
from pathlib import Path

import pytest
import torch

from openo3.model.load import load_model, load_processor
from openo3.shapes import pretrain


@pytest.mark.slow
def test_it_writes_a_model_that_loads_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "examine", lambda *_, **__: {"questions": 0})
    small = ["--minutes", "0.03", "--batch", "3", "--workers", "0", "--device", "cpu"]

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["pretrain", *small, *arguments])
        pretrain.main()

    run("--out", str(tmp_path / "one"), "--see", "0.03", "--stills", "0.03")
    run("--out", str(tmp_path / "two"), "--see", "0", "--stills", "0", "--start", str(tmp_path / "one"))
    runs = json.loads((tmp_path / "two" / pretrain.RECORD).read_text())["runs"]
    assert [each["phase"] for each in runs] == ["see", "stills", "clips", "clips"]
    assert all(each["steps"] > 0 for each in runs)
    one, two = (load_model(tmp_path / name, torch.float32).state_dict() for name in ("one", "two"))
    moved = [name for name in one if not torch.equal(one[name], two[name])]
    assert len(moved) > len(one) / 2  # half precision keeps the smallest steps of the norms from showing
    assert load_processor(tmp_path / "two").tokenizer.get_vocab()["<think>"]


def test_replay_shows_each_lesson_and_then_earlier_ones_again() -> None:
    shown = [
        lesson["number"] for lesson in pretrain.replayed(iter({"number": n} for n in range(12)), 2, 0, 4)
    ]
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


def test_tags_become_marks_that_no_lesson_has_shown() -> None:
    processor = load_processor("data/tiny-qwen3-vl")
    model = load_model("data/tiny-qwen3-vl", torch.float32)
    tokens = processor.tokenizer.convert_tokens_to_ids
    vectors = model.get_input_embeddings().weight.data
    tags = tokens(list(pretrain.tiny.GRAMMAR))
    signs = vectors[tokens(sorted(set(sum(pretrain.SIGNS, ()))))]
    others = [index for index in range(len(vectors)) if index not in tags]
    vectors[tags] = 0.0
    kept = vectors[others].clone()
    pretrain.place_tags(model, processor.tokenizer)
    assert torch.equal(vectors[others], kept)
    apart = torch.cdist(vectors[tags], vectors[tags]) + torch.eye(len(tags)) * 1e9
    assert apart.min() > 0.1 * signs.std()  # each has a vector of its own
    distance = (vectors[tags] - signs.mean(0)).norm(dim=1).mean()
    spread = (signs - signs.mean(0)).norm(dim=1).mean()
    assert distance.item() == pytest.approx(spread.item(), rel=0.3)
