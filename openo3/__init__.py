"""Grounded video reasoning: evidence grammar, rewards, metrics, media, models and benchmarks.

    from openo3 import load
    model = load("data/models/gspo")
    answer = model.ask("clip.mp4", "What enters after the red circle?")
    answer.show()

The public names are:

    load     loads a model, see `openo3.inference.model.load`
    Answer   what `Model.ask` returns, see `openo3.inference.answer.Answer`
    rewards  the seven rewards, `rewards.score` among them, see `openo3.core.rewards`
    metrics  the benchmarks' metrics, see `openo3.core.metrics`

They are imported when they are first used, so that `import openo3` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openo3.core import metrics, rewards
    from openo3.inference.answer import Answer
    from openo3.inference.model import load

__all__ = ("Answer", "load", "metrics", "rewards")

_HOMES = {
    "load": ("openo3.inference.model", "load"),
    "Answer": ("openo3.inference.answer", "Answer"),
    "rewards": ("openo3.core.rewards", None),
    "metrics": ("openo3.core.metrics", None),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, member = _HOMES[name]
    found = importlib.import_module(module)
    return getattr(found, member) if member else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
