"""The full-size comparison also runs on the tiny model on any machine, and the fast paths are correct."""

import re
from dataclasses import fields
from importlib.util import find_spec

import pytest

from bench.gpu.__main__ import main
from bench.gpu.models import SIZES, Picture, build, forward_flops
from openo3.media.frame_store import Frame


def test_its_pictures_have_the_fields_of_stored_frames() -> None:
    assert [field.name for field in fields(Picture)] == [field.name for field in fields(Frame)]


@pytest.mark.slow
def test_every_part_prints_its_rows(capsys: pytest.CaptureFixture) -> None:
    main(["--model", "tiny", "--rounds", "1", "--prompts", "2"])
    printed = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("|")]
    for part in ("rollout", "update", "evaluate", "SFT"):
        assert f"{part}, published way" in rows
        assert any(row.startswith(f"{part}, ours") for row in rows)
    assert "Error" not in printed
    assert re.search(r"log-probabilities off by [0-9.e-]+ ", printed)
    for steps in ("decoding's off by, fused", "in plain steps"):  # in single precision, as on this CPU
        assert float(re.search(rf"{steps} ([0-9.e-]+) ", printed)[1]) < 1e-5
    assert 0 <= float(re.search(r"share waited for data ([0-9.e-]+) ", printed)[1]) < 1
    assert re.search(r"rollout and update: .* published, .* ours: .* times", printed)


@pytest.mark.slow
def test_vllm_is_measured_or_reported_as_missing(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    main(["--model", "tiny", "--prompts", "2", "--what", "vllm"])
    printed = capsys.readouterr().out
    if find_spec("vllm") is None:
        assert "| vLLM | ModuleNotFoundError: No module named 'vllm' |" in printed
    else:
        assert "| rollout, vLLM | prompts 2 " in printed
        assert "| evaluate, vLLM | records 2 " in printed


def test_parts_that_would_take_too_long_are_skipped(capsys: pytest.CaptureFixture) -> None:
    main(["--model", "tiny", "--what", "rollout", "--minutes", "0"])
    assert "rollout, published way | left out" in capsys.readouterr().out


def test_flops_match_the_matrix_products() -> None:
    """Two FLOPs per weight and token; embeddings are looked up, not multiplied."""
    model, size = build("tiny"), SIZES["tiny"]
    text = model.model.language_model
    weights = sum(p.numel() for p in text.layers.parameters() if p.ndim == 2)
    counted = forward_flops(model.config, size, tokens=10, pairs=0, logits=3, frames=0)
    assert counted == 2 * (10 * weights + 3 * model.lm_head.weight.numel())
    blocks = sum(p.numel() for p in model.model.visual.blocks.parameters() if p.ndim == 2)
    merger = sum(p.numel() for p in model.model.visual.merger.parameters() if p.ndim == 2)
    patches = size.patches
    attention = 4 * 64 * patches * 4 * size.height * size.width  # frames smaller than an attention window
    seen = forward_flops(model.config, size, tokens=0, pairs=0, logits=0)
    assert seen == 2 * (patches * blocks + patches // 4 * merger) + attention
