"""Report a non-finite loss or gradient with its samples, and stop the run or skip the step."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Literal

import torch

from openo3.training.trl_compat import GradientNorms

OnNonFinite = Literal["stop", "skip"]


class NonFiniteError(FloatingPointError):
    """The loss or gradient of a step is not finite. The message names its samples."""


class FiniteSteps(GradientNorms):
    """A mixin, before a transformers trainer among the bases. The class names the samples of each batch.

    The gradient is the same in all processes, so all of them skip a step together. (DeepSpeed updates in the
    backward pass: there its own setting `check_grad_overflow` skips the step.)
    """

    optimizer: torch.optim.Optimizer

    def __init__(self, *args: Any, on_non_finite: OnNonFinite = "stop", **kwargs: Any) -> None:
        self.on_non_finite = on_non_finite
        self.steps_left_out = 0
        self._in_step: list[str] = []
        super().__init__(*args, **kwargs)

    @property
    def facts(self) -> dict[str, Any]:
        """What a run's metrics say about it beside its curve."""
        return {"steps_left_out": self.steps_left_out}

    def name_samples(self, ids: Iterable[str]) -> None:
        """The samples of the batch whose loss is computed next."""
        self._in_step += ids

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        before = len(self._in_step)
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            self._report(f"loss {loss.item()}", self._in_step[before:])
        return loss

    def on_gradient_norm(self, norm: Any) -> None:
        if norm is not None and not torch.isfinite(torch.as_tensor(norm)):
            self._report(f"gradient norm {float(norm)}", self._in_step)
            self.steps_left_out += 1
            self.optimizer.zero_grad(set_to_none=True)  # parameters without a gradient stay as they are
        self._in_step = []

    def _report(self, what: str, ids: Iterable[str]) -> None:
        text = f"step {self.state.global_step + 1}: {what}, samples {', '.join(dict.fromkeys(ids))}"
        if self.on_non_finite == "stop":
            raise NonFiniteError(f"{text}; on_non_finite: skip leaves such steps out")
        print(f"{text}: left out", file=sys.stderr, flush=True)
