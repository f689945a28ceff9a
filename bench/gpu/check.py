"""Check the fast paths: two layers at full width against masked attention, float32 and unrecorded steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bench.gpu.models import Size, attend_plainly, build, packs, special_tokens
from bench.gpu.update import target_logps
from openo3.model.attention import attend_framewise
from openo3.model.decoding import Generation, Sampling, decode
from openo3.model.packing import Branch, Pack, branch_mask, collate, model_inputs


def check(size: Size) -> dict[str, float]:
    """Errors of the fast paths, all against masked attention in float32.

    Mean errors of log-probabilities and relative errors of a gradient, for ours and for masked attention in
    the same precision. Also the mean errors of the log-probabilities that decoding reports for the tokens it
    sampled, in fused, recorded steps and in plain ones.
    """
    model = build(size.model, layers=2)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.q_proj.weight.mul_(3)  # sharpens attention, which is otherwise nearly uniform
    few = replace(size, prompts=2, new_tokens=64)
    prompts = packs(model, few, 2, written=False)
    written = {fused: write(model, few, prompts, fused=fused) for fused in (True, False)}

    batch = collate(packs(model, few, 2, written=True), **special_tokens(model))
    labels = batch.pop("labels").to(model.device)
    ours, our_gradient = scored(model, batch, labels, masked=False)
    theirs, their_gradient = scored(model, batch, labels, masked=True)
    model.float()
    truth, true_gradient = scored(model, batch, labels, masked=True)
    decoded = {fused: off_by(model, prompts, rows) for fused, rows in written.items()}
    return {
        "log-probabilities off by": float((ours - truth).abs().mean()),
        "under a mask": float((theirs - truth).abs().mean()),
        "gradient off by": float((our_gradient - true_gradient).norm() / true_gradient.norm()),
        "gradient under a mask": float((their_gradient - true_gradient).norm() / true_gradient.norm()),
        "decoding's off by, fused": decoded[True],
        "in plain steps": decoded[False],
    }


def write(model: Any, size: Size, prompts: list[Pack], *, fused: bool) -> list[list[Generation]]:
    """Sampled completions of the prompts."""
    attend_framewise(model)
    return decode(
        model,
        prompts,
        Sampling(size.new_tokens, temperature=1.0, n=size.completions),
        **special_tokens(model),
        end_tokens=(),
        generator=torch.Generator(model.device).manual_seed(0),
        fused=fused,
    )


def off_by(model: Any, prompts: list[Pack], written: list[list[Generation]]) -> float:
    """The mean error of the log-probabilities of completions, against this model under a mask."""
    whole = [
        replace(pack, branches=[Branch(pack.branches[0].context_ids, row.ids) for row in rows])
        for pack, rows in zip(prompts, written, strict=True)
    ]
    batch = collate(whole, **special_tokens(model))
    labels = batch.pop("labels").to(model.device)
    truth, _ = scored(model, batch, labels, masked=True)
    said = torch.tensor([value for rows in written for row in rows for value in row.logprobs])
    return float((said.to(truth.device) - truth).abs().mean())


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
