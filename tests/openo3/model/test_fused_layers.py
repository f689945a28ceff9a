"""Fused layers write what transformers' layers write. Triton's interpreter runs the GPU's kernel."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from openo3.model.fused_layers import after_attention, before_attention, fused_layers
from openo3.model.upstream import uncompiled
from tests.openo3.model.families import Family

INTERPRETED = {**os.environ, "TRITON_INTERPRET": "1"}  # read when Triton is imported


def interpreted(code: str) -> None:
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=INTERPRETED, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_kernel_attends_as_masked_attention_does() -> None:
    """Several rows, head groups, branches beyond one tile, parts without a visible slot, an unfilled end."""
    interpreted(
        """
        import torch
        from openo3.model.branch_attention import branch_attention

        for rows, branches, shared, groups, slots, width, filled in (
            (2, 3, 2, 2, 192, 16, 150), (1, 1, 1, 7, 64, 16, 64),
            (2, 4, 2, 3, 256, 32, 200), (1, 40, 1, 2, 300, 16, 290),
        ):
            query = torch.randn(rows, branches, shared * groups, width)
            key, value = torch.randn(2, rows, branches, shared, width).unbind(0)
            keys, values = torch.randn(2, rows, shared, slots, width).unbind(0)
            owner = torch.randint(0, branches + 1, (rows, slots))
            owner[:, :20], owner[:, filled:] = 0, -1
            owner[:, 64:128] = branches + 1  # a part that nobody sees
            branch = torch.arange(1, branches + 1).expand(rows, branches).contiguous()
            index = torch.arange(filled - branches, filled)
            owner[:, index] = branch
            attended = branch_attention(query, key, value, keys, values, owner, branch, index, 0.3)
            assert torch.equal(keys[:, :, index], key.transpose(1, 2))
            seen = (owner[:, None] == 0) | (owner[:, None] == branch[:, :, None])
            seen[:, :, filled:] = False
            expected = torch.nn.functional.scaled_dot_product_attention(
                query.transpose(1, 2), keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1),
                attn_mask=seen[:, None], scale=0.3,
            ).transpose(1, 2)
            torch.testing.assert_close(attended, expected)
        """
    )


@pytest.mark.slow
def test_fused_layers_write_the_same_tokens() -> None:
    """Of both generations, in one process, since the interpreter and its imports take most of the time."""
    interpreted(
        """
        import torch
        from openo3.model import fused_layers
        from openo3.model.decoding import Sampling
        from tests.openo3.model import families

        for make in (families.qwen3_vl, families.qwen2_5_vl):
            family = make()
            packs = [
                family.pack(family.frames(3, (2, 2)), ["When is the red circle in view?", "Where?"]),
                family.pack(family.frames(1, (3, 1), seed=1), ["Where is the circle?"]),
            ]
            written = []
            for fused in (False, True):
                fused_layers.fusible = lambda model: fused
                sampling = Sampling(5, temperature=0.7, n=2, seed=3)
                written.append(family.decode(packs, sampling, end_tokens=[5, 9]))
            for plain, fused in zip(*[[one for row in rows for one in row] for rows in written], strict=True):
                assert plain.ids == fused.ids
                torch.testing.assert_close(torch.tensor(plain.logprobs), torch.tensor(fused.logprobs))
        """
    )


def test_before_and_after_attention_compute_what_a_layer_computes(family: Family) -> None:
    """A single token attends to itself alone, whatever its query and key are."""
    text = family.model.model.language_model
    layer = text.layers[0]
    hidden = torch.randn(2, 1, text.config.hidden_size)
    cosine, sine = text.rotary_emb(hidden, torch.full((3, 2, 1), 7))
    with torch.no_grad():
        expected = layer(hidden, position_embeddings=(cosine, sine), attention_mask=None)
        query, key, value = before_attention(layer, hidden, cosine, sine)
        assert query.shape[2] % key.shape[2] == 0
        attended = value.repeat_interleave(query.shape[2] // key.shape[2], dim=2)
        torch.testing.assert_close(after_attention(layer, hidden, attended), expected)


def test_a_compiled_layer_is_set_aside_and_comes_back(family: Family) -> None:
    layer = family.model.model.language_model.layers[0]
    layer.compile(backend="eager")
    compiled = layer._compiled_call_impl
    try:
        with fused_layers(family.model) as fused:
            assert not fused
            assert layer._compiled_call_impl is None
        assert layer._compiled_call_impl is compiled
        with uncompiled([layer], lambda _: lambda hidden: hidden + 1):
            assert layer(torch.zeros(1)) == 1
        assert "forward" not in vars(layer)
    finally:
        layer._compiled_call_impl = None
