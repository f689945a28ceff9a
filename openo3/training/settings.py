"""A trainer's settings, checked before anything is loaded: transformers itself looks at few of them.

config = trainer_config(SFTConfig, {"learning_rate": 1e-4, "max_steps": 200})
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from transformers import TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from openo3.configuration import within
from openo3.training.workspace import CACHE

C = TypeVar("C", bound=TrainingArguments)

_COUNTS = (
    "generation_batch_size", "gradient_accumulation_steps", "max_completion_length", "num_generations",
    "num_iterations", "per_device_eval_batch_size", "per_device_train_batch_size", "save_total_limit",
    "steps_per_generation",
)  # fmt: skip
_ABOVE_0 = ("logging_steps", "num_train_epochs", "repetition_penalty", "save_steps", "temperature")
_NOT_BELOW_0 = (
    "adam_epsilon", "beta", "dataloader_num_workers", "epsilon", "epsilon_high", "learning_rate",
    "max_grad_norm", "warmup_steps", "weight_decay",
)  # fmt: skip
_SHARES = ("adam_beta1", "adam_beta2", "label_smoothing_factor", "min_p", "top_p")
_SEEDS = ("data_seed", "seed")
_CHOICES = {
    ("GRPOConfig", "importance_sampling_level"): ("sequence", "token"),
    ("GRPOConfig", "loss_type"): (
        "bnpo", "cispo", "dapo", "dr_grpo", "grpo", "luspo", "sapo", "vespo",
    ),
}  # fmt: skip
"""What TRL refuses only once it has a rollout to score."""


def trainer_config(cls: type[C], settings: Mapping[str, Any]) -> C:
    """The configuration of TRL or transformers with these settings; `output_dir` is still to be set.

    Raises `TypeError` for an unknown setting, and `ValueError` for one of another type, out of its range, or
    refused by the class itself; the message names it.
    """
    hints = get_type_hints(cls)
    for name, value in settings.items():
        if name in hints:
            _check_type(name, value, hints[name])
            _check_range(name, value)
            if value not in (choices := _CHOICES.get((cls.__name__, name), (value,))):
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    try:
        get_reporting_integration_callbacks(settings.get("report_to"))  # as late otherwise
    except ValueError as error:
        raise ValueError(f"report_to: {error}") from None
    return cls(output_dir=str(CACHE), **settings)


def _check_type(name: str, value: Any, hint: Any) -> None:
    """As strictly as `openo3.configuration` reads the project's own parameters."""
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    try:
        adapter = TypeAdapter(hint, config=strict)
    except PydanticUserError:  # a class of another library
        return
    try:
        adapter.validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].lower()
        raise ValueError(f"{name}: {said}, got {repr(value)[:80]}") from None


def _check_range(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if name == "max_steps" and value != -1:
        within(name, value, at_least=1)
    within(name, value, at_least=1 if name in _COUNTS else 0 if name in (*_NOT_BELOW_0, *_SEEDS) else None)
    within(name, value, above=0 if name in _ABOVE_0 else None)
    if name in _SHARES:
        within(name, value, at_least=0, at_most=1)
    if name in _SEEDS:
        within(name, value, at_most=2**32 - 1)
