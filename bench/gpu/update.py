"""Measure an update's forward and backward pass: completions as separate rows, and as branches of one row.

The optimizer's step is the same in both and is left out, as its states do not fit on one GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bench.gpu.measure import Clock, attempt, seconds
from bench.gpu.models import Size, attend_plainly, forward_flops, packs, rows, special_tokens
from openo3.model.attention import attend_framewise
from openo3.model.load import compile_each_layer
from openo3.model.packing import collate, model_inputs

OFTEN = ((1, 1), (4, 1), (8, 1), (1, 2), (2, 2), (1, None))
"""(prompts per pass, `every`): one layer in `every` recomputes its activations in the backward pass."""


def whole_logps(model: Any, inputs: dict[str, torch.Tensor], new: int) -> torch.Tensor:
    """Log-probabilities [rows, new] from the logits of the whole text."""
    logits = model(**inputs, use_cache=False).logits[:, -new - 1 : -1]
    ids = inputs["input_ids"][:, -new:]
    return torch.stack(
        [
            F.log_softmax(row, dim=-1).gather(1, index[:, None]).squeeze(1)
            for row, index in zip(logits, ids, strict=True)
        ]
    )


def target_logps(model: Any, inputs: dict[str, Any], labels: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of all labelled tokens, concatenated.

    Logits are computed for these tokens alone, in pieces, as TRL's fused head does with its own kernel.
    """
    hidden = model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:] >= 0

    def score(hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        logits = model.lm_head(hidden).float()
        return logits.gather(1, ids[:, None]).squeeze(1) - logits.logsumexp(1)

    pieces = zip(hidden[wanted].split(1024), labels[:, 1:][wanted].split(1024), strict=True)
    return torch.cat([checkpoint(score, *piece, use_reentrant=False) for piece in pieces])


def loss_of(logps: torch.Tensor, reference: torch.Tensor | None = None) -> torch.Tensor:
    """The GRPO loss with advantages of one, plus the KL estimate if there is a reference."""
    loss = -(logps - logps.detach()).exp()
    if reference is not None:
        loss = loss + 0.04 * ((reference - logps).exp() - (reference - logps) - 1)
    return loss.mean()


def published(model: Any, size: Size, rounds: int, *, reference: bool) -> dict[str, float]:
    """One prompt with its completions as rows. The reference pass uses the same weights."""
    attend_plainly(model)
    (pack,) = packs(model, size, 1, written=True)
    inputs = rows(model, pack)

    def step() -> None:
        known = None
        if reference:
            with torch.no_grad():
                known = whole_logps(model, inputs, size.new_tokens)
        loss_of(whole_logps(model, inputs, size.new_tokens), known).backward()

    whole = size.prompt_tokens + size.new_tokens
    forward = size.completions * forward_flops(
        model.config, size, tokens=whole, pairs=whole**2 // 2, logits=whole
    )
    return timed(model, step, rounds, 1) | speed(size, 1, forward, 4 + reference)


def ours(model: Any, size: Size, rounds: int, *, groups: int, every: int | None) -> dict[str, float]:
    """`groups` prompts, each with its completions as branches of one row. There is no reference (beta 0)."""
    attend_framewise(model)
    batch = collate(packs(model, size, groups, written=True), **special_tokens(model))
    labels = batch.pop("labels").to(model.device)

    def step() -> None:
        loss_of(target_logps(model, model_inputs(model, batch), labels)).backward()

    new = size.completions * size.new_tokens
    pairs = size.prompt_tokens**2 // 2
    pairs += size.completions * (size.new_tokens * size.prompt_tokens + size.new_tokens**2 // 2)
    count = partial(forward_flops, model.config, size)
    forward = groups * count(tokens=size.prompt_tokens + new, pairs=pairs, logits=new)
    head = groups * count(tokens=0, pairs=0, logits=new, frames=0)  # always recomputed
    again = head + ((forward - head) / every if every else 0)
    return timed(model, step, rounds, every) | speed(size, groups, forward, 3 + again / forward)


def timed(model: Any, step: Callable[[], None], rounds: int, every: int | None) -> dict[str, float]:
    with trained(model, every):
        step()
        return {"s": median(seconds(step) for _ in range(rounds))}


@contextmanager
def trained(model: Any, every: int | None) -> Iterator[None]:
    """The model in training mode, with activation checkpointing of one layer in `every`."""
    if every:
        model.activation_checkpointing_enable(every_n_layers=every)
    model.train()
    try:
        yield
    finally:
        model.eval()
        model.activation_checkpointing_disable()
        model.zero_grad(set_to_none=True)


def speed(size: Size, groups: int, forward: float, executed: float) -> dict[str, Any]:
    """The work of a step, by which its rates are computed.

    `useful` counts a forward pass and twice that for the backward pass in TFLOP. `executed` (given in forward
    passes) also counts recomputation and the reference pass.
    """
    return {"prompts": groups, "completions": groups * size.completions, "useful": 3 * forward / 1e12,
            "executed": executed * forward / 1e12}  # fmt: skip


def row(result: dict[str, Any]) -> dict[str, float]:
    took = result["s"]
    return {
        "prompts": result["prompts"],
        "s": took,
        "completions/s": result["completions"] / took,
        "TFLOP/s executed": result["executed"] / took,
        "TFLOP/s useful": result["useful"] / took,
    }


def table(model: Any, size: Size, clock: Clock, rounds: int) -> tuple[float, float]:
    """Print the rows; return completions per second, published and the best of ours."""
    theirs = 0.0
    for name, reference in (("", True), (" without a reference model", False)):
        measure = partial(published, model, size, max(1, rounds // 2), reference=reference)
        result = attempt(f"update, published way{name}", clock, 40, lambda measure=measure: row(measure()))
        theirs = theirs or result.get("completions/s", 0)
    return theirs, max(variants(model, size, clock, rounds, "update, ours", OFTEN))


def variants(
    model: Any, size: Size, clock: Clock, rounds: int, what: str, often: Sequence[tuple[int, int | None]]
) -> list[float]:
    """Completions per second of each variant."""
    speeds = [0.0]
    for groups, every in often:
        again = {None: "nothing", 1: "all layers"}.get(every, f"1 layer in {every}")
        measure = partial(ours, model, size, rounds, groups=groups, every=every)
        result = attempt(f"{what}, {again} computed again", clock, 15, lambda measure=measure: row(measure()))
        speeds.append(result.get("completions/s", 0))
    return speeds


def compiled(model: Any, size: Size, clock: Clock, rounds: int) -> None:
    """The same with compiled layers. The model stays compiled, so this measurement comes last."""
    compile_each_layer(model)
    if clock.left_s > 90:
        variants(model, size, clock, rounds, "update, ours, layers compiled", ((4, 1), (8, 1), (1, 2)))
