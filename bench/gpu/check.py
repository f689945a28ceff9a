"""Check the fast paths: two layers at full width against masked attention, float32 and unrecorded steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bench.gpu.models import Size, attend_plainly, build, packs, special_tokens
from bench.gpu.update import target_logps
from openo3.model.attention import attend_framewise
from openo3.model.decoding import Sampling, decode
from openo3.model.packing import branch_mask, collate, model_inputs


def check(size: Size) -> dict[str, float]:
    """Errors of the fast paths.

    Mean errors of log-probabilities and relative errors of a gradient, for ours and for masked attention in
    the same precision, both against float32. Also the share of greedy tokens on which recorded and unrecorded
    steps agree.
    """
    model = build(size.model, layers=2)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.q_proj.weight.mul_(3)  # sharpens attention, which is otherwise nearly uniform
    tokens = [greedy(model, replace(size, prompts=2, new_tokens=40), replay) for replay in (True, False)]
    same = [one == other for one, other in zip(*tokens, strict=True)]

    batch = collate(packs(model, replace(size, new_tokens=64), 2, written=True), **special_tokens(model))
    labels = batch.pop("labels").to(model.device)
    ours, our_gradient = scored(model, batch, labels, masked=False)
    theirs, their_gradient = scored(model, batch, labels, masked=True)
    truth, true_gradient = scored(model.float(), batch, labels, masked=True)
    return {
        "log-probabilities off by": float((ours - truth).abs().mean()),
        "under a mask": float((theirs - truth).abs().mean()),
        "gradient off by": float((our_gradient - true_gradient).norm() / true_gradient.norm()),
        "gradient under a mask": float((their_gradient - true_gradient).norm() / true_gradient.norm()),
        "greedy tokens the same": sum(same) / len(same),
    }


def scored(
    model: Any, batch: dict[str, torch.Tensor], labels: torch.Tensor, *, masked: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the targets, and the gradient of their sum with respect to one key projection."""
    attend_framewise(model)
    inputs = model_inputs(model, batch)
    if masked:
        attend_plainly(model)
        inputs["attention_mask"] = branch_mask(inputs.pop("layout").segments)
    logps = target_logps(model, inputs, labels)
    (gradient,) = torch.autograd.grad(
        logps.sum(), model.model.language_model.layers[0].self_attn.k_proj.weight
    )
    return logps.detach().float(), gradient.float()


def greedy(model: Any, size: Size, replay: bool) -> list[int]:
    attend_framewise(model)
    written = decode(
        model,
        packs(model, size, size.prompts, written=False),
        Sampling(size.new_tokens, n=size.completions),
        **special_tokens(model),
        end_tokens=(),
        generator=torch.Generator(model.device).manual_seed(0),
        replay=replay,
    )
    return [token for row in written for branch in row for token in branch.ids]
